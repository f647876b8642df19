// Places an order with the client whose types openapi-typescript generates, and prints how it ends.

import { setTimeout as sleep } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Order = components["schemas"]["Order"];

const PATIENCE_MS = 30_000;
const POLL_INTERVAL_MS = 100;

const [gateway] = process.argv.slice(2);
if (gateway === undefined) throw new Error("usage: place-order GATEWAY_URL");
const client = createClient<paths>({ baseUrl: gateway });

async function placed(): Promise<Order> {
  const { data, error } = await client.POST("/v1/orders", {
    body: { customerId: "ada", cardToken: "tok_visa", lines: [{ sku: "espresso-beans", quantity: 2 }] },
  });
  if (data === undefined) throw new Error(error.detail);
  return data;
}

async function ended(orderId: string): Promise<Order> {
  const endsAt = Date.now() + PATIENCE_MS;
  while (Date.now() < endsAt) {
    const { data, error } = await client.GET("/v1/orders/{order_id}", { params: { path: { order_id: orderId } } });
    if (data === undefined) throw new Error(error.detail);
    if (data.status !== "PENDING") return data;
    await sleep(POLL_INTERVAL_MS);
  }
  throw new Error(`order ${orderId} is still pending`);
}

const order = await placed();
console.log(JSON.stringify(await ended(order.orderId)));
