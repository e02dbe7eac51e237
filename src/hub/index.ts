export { cacheFolder, digestOf, findSnapshot } from "./cache.ts";
export { openHub } from "./hubs.ts";
export type { Environment, Hub, HubName, Listing } from "./hubs.ts";
export { pull } from "./pull.ts";
export type { Pulled, PulledFile, PullOptions, PullProgress } from "./pull.ts";
export { isPickle, parseRepository } from "./repository.ts";
export type { Digest, RemoteFile, RepositoryRef } from "./repository.ts";
export { defaultPatience } from "./request.ts";
export type { Patience } from "./request.ts";
