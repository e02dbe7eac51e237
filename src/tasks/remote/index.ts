export { createJudge, readVerdict, type Judged, type JudgeOptions } from "./judge.ts";
export { createRewardClient, type RemoteReward, type RewardClientOptions, type RewardQuery } from "./reward-client.ts";
export { judgeReward, remoteReward, type JudgeRewardOptions, type RemoteRewardOptions } from "./reward-functions.ts";
export { rewardApp, taskRewarder, verifierRewarder, type RewardAppOptions, type Rewarder } from "./reward-app.ts";
