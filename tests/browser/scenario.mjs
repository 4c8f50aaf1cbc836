// What the page does with the exporter of the test. It says what it has seen; the test knows what that should be.

import { CODE, INT, TEXT, open, record } from "./netchan.mjs";

const JOB = record("Job", { id: INT, name: TEXT });

async function all(channel) {
  const values = [];
  for await (const value of channel) values.push(value);
  return values;
}

async function refused(asking) {
  try {
    await asking;
    return null;
  } catch (error) {
    return error.code;
  }
}

export async function run(url) {
  const seen = {};
  seen.stranger = await refused(open(url, "wrong").then((session) => session.receive("numbers", INT)));
  const session = await open(url, "the page's");

  seen.numbers = await all(await session.receive("numbers", INT, 10));
  seen.jobs = await all(await session.receive("jobs", JOB));
  seen.texts = (await all(await session.receive("texts", TEXT))).map((text) => [text.length, text.at(-1)]);

  const squares = await session.send("squares", INT, 10);
  for (const number of seen.numbers) await squares.send(number * number);
  seen.squares = await squares.close();
  const results = await session.send("results", JOB);
  await results.send(...seen.jobs);
  seen.results = await results.close();
  const large = await session.send("large", TEXT);
  await large.send("é".repeat(300_000), "", "x".repeat(300_000), "end");
  seen.large = await large.close();

  seen.forbidden = await refused(session.receive("forbidden", INT));
  seen.missing = await refused(session.receive("missing", INT));
  seen.direction = await refused(session.send("endless", INT));
  seen.type = await refused(session.receive("endless", TEXT));
  const endless = await session.receive("endless", INT);
  let first;
  for await (first of endless) break;
  endless.close(CODE.RECEIVER_GONE);
  seen.endless = first;
  const hungUp = await session.receive("hung up", INT);
  const asked = await session.send("asked", INT);
  await asked.send(1); // whereupon it is hung up
  seen.hungUp = [await all(hungUp), hungUp.finished];
  const choosy = await session.send("choosy", INT);
  await choosy.send(1);
  await choosy.send("no integer");
  seen.choosy = await choosy.close();
  await asked.close();

  seen.closed = await session.leave();
  return seen;
}
