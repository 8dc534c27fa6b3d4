// Signs with the library of npm, one line of JSON for each of standard input: {secret, id, timestamp, payload}.
// Its first argument is the directory that the library is installed in.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { Webhook } = createRequire(`${process.argv[2]}/`)('standardwebhooks');
for await (const line of createInterface({ input: process.stdin })) {
  const { secret, id, timestamp, payload } = JSON.parse(line);
  console.log(new Webhook(secret).sign(id, new Date(1000 * timestamp), payload));
}
