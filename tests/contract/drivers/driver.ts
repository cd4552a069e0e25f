// Calls the programs of docs/keys.md with what the test says, and prints what they answer.
import { Redis } from "ioredis";
import { follow } from "./events";
import { readMarket } from "./market";
import { readPosition } from "./position";

async function main(): Promise<void> {
  const [url, what, ...args] = process.argv.slice(2);
  const redis = new Redis(url);
  const print = (value: unknown): void => console.log(JSON.stringify(value));
  if (what === "position") {
    const p = await readPosition(redis, args[0], args[1] as "long" | "short", Number(args[2]));
    print([p.usable, p.mayOpen, p.why, p.size || "0", p.entryPrice || "0"]);
  } else if (what === "market") {
    const m = await readMarket(redis, args[0], Number(args[1]));
    print(m && [m.price, m.bid, m.ask]);
  } else if (what === "events") {
    const [symbol, group, rounds, dieAfter] = [args[0], args[1], Number(args[2]), Number(args[3])];
    let seen = 0;
    const act = (kind: string, id: string, data: unknown): void => {
      if (seen === dieAfter) process.exit(9); // taken, and not acknowledged
      seen += 1;
      print([kind, id, typeof data === "object"]);
    };
    await follow(redis, symbol, group, "bot", act, 200, rounds);
  }
  redis.disconnect();
}

void main();
