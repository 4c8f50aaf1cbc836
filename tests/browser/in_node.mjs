import { run } from "./scenario.mjs";

console.log(JSON.stringify(await run(process.argv[2])));
