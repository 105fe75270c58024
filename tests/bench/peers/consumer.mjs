// bbc/sqs-consumer as its documentation shows it for throughput: eight consumers in one process, batches of ten, each
// message one request and one row, the batch deleted together. No intent: a crash after the request places the call again.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// Installed in the working directory, not beside this file.
const require = createRequire(pathToFileURL(process.cwd() + "/"));
const { SQSClient } = require("@aws-sdk/client-sqs");
const { Consumer } = await import(pathToFileURL(process.cwd() + "/node_modules/sqs-consumer/dist/esm/index.js"));
const pg = require("pg");

const { QUEUE_URL: queueUrl, PROVIDER_URL: provider, PROVIDER_KEY: key, DATABASE_URL: databaseUrl } = process.env;
const address = new URL(databaseUrl);
const database = new pg.Pool({
  host: address.searchParams.get("host"),
  port: Number(address.searchParams.get("port")),
  user: address.searchParams.get("user"),
  database: address.pathname.slice(1),
  max: 16,
});
const sqs = new SQSClient({ endpoint: process.env.AWS_ENDPOINT_URL_SQS });
const insert = {
  name: "insert",
  text: "insert into bench_calls (event_id, http_status, call_id) values ($1, $2, $3) on conflict do nothing",
};

async function handle(message) {
  const { id, data } = JSON.parse(message.Body);
  const answer = await fetch(`${provider}/v1/calls`, {
    method: "POST",
    headers: { authorization: key, "content-type": "application/json" },
    body: JSON.stringify({
      phone_number: data.lead.phone_number, task: data.content, language: "en", max_duration: 5, metadata: data.metadata,
    }),
    signal: AbortSignal.timeout(30_000),
  });
  const { call_id: callId } = await answer.json();
  await database.query({ ...insert, values: [id, answer.status, callId] });
}

async function handleMessageBatch(messages) {
  await Promise.all(messages.map(handle));
  return messages;
}

for (let n = 0; n < 8; n += 1) {
  const consumer = Consumer.create({ queueUrl, sqs, batchSize: 10, waitTimeSeconds: 20, handleMessageBatch });
  for (const event of ["error", "processing_error", "timeout_error"]) {
    consumer.on(event, (error) => console.error(event, error));
  }
  consumer.start();
}
