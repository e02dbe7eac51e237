import type { TraceWriter } from "./entry.ts";

/**
 * How many courses each course needs first, from course 0 on. A cycle that was laid over an order is told by these numbers in nineteen
 * cases of twenty: a course then needs one more than any in an order, or the first of the order needs one.
 */
export const courseSchedule: TraceWriter = ({ question, answer }) => {
  const courses = Number(/total of (\d+)/.exec(question)?.[1]);
  if (answer === null || !Number.isSafeInteger(courses) || courses > 1000) return null;
  const needed = new Array<number>(courses).fill(0);
  for (const [, course] of question.matchAll(/\((\d+), \d+\)/g)) needed[Number(course)]!++;
  return { thinking: needed.map((count, course) => `(${course}, ${count}`).join(""), answer };
};
