// The orders that the list knows: the newest, what a search found, and those that still run further down.

import { read } from "./api.js";

export const ROWS_MAX = 500;
const PAGE = 100;
// Of the orders that run and are older than the newest page.
const PENDING_PAGES_MAX = 3;
const SINGLE_READS_MAX = 10;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const CUSTOMER = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

export function isOrderId(text) {
  return UUID.test(text);
}

export class OrderStore {
  #orders = new Map();
  // What a query of the API has given, without a gap: `{ids, token}`, the token of the page behind it. "" asks for all.
  #lists = new Map();
  text = "";
  status = "";
  // Whether the id that is searched for belongs to no order.
  isUnknown = false;

  // Newest first: an order's id begins with its time.
  shown() {
    const text = this.text.toLowerCase();
    const matches = ({ orderId, customerId, status }) =>
      (!this.status || status === this.status) && (orderId.includes(text) || customerId.toLowerCase().includes(text));
    const ids = new Set([...this.#list("").ids, ...this.#list(this.#query()).ids, text]);
    const orders = [...ids].sort().reverse().map((id) => this.#orders.get(id));
    return orders.filter((order) => order && matches(order)).slice(0, ROWS_MAX);
  }

  get hasOlder() {
    return Boolean(this.#list(this.#query()).token) && this.shown().length < ROWS_MAX;
  }

  // Reads what is new, and what became of what runs. Raises Problem.
  async refresh(signal) {
    const query = this.#query();
    for (const other of this.#lists.keys()) if (other && other !== query) this.#lists.delete(other);
    const newest = await this.#newest("", signal);
    const current = new Set(query ? [...newest, ...(await this.#newest(query, signal))] : newest);
    await this.#catchUp(current, signal);
    await this.#find(signal);
    this.#drop();
  }

  // Reads the page behind what is loaded. Raises Problem.
  async older(signal) {
    const list = this.#list(this.#query());
    const { orders, token } = await this.#page(this.#query(), list.token, signal);
    list.token = token;
    for (const id of this.#take(orders)) list.ids.add(id);
  }

  #list(query) {
    if (!this.#lists.has(query)) this.#lists.set(query, { ids: new Set(), token: "" });
    return this.#lists.get(query);
  }

  // The ids on the newest page.
  async #newest(query, signal) {
    const { orders, token } = await this.#page(query, "", signal);
    const list = this.#list(query);
    const ids = this.#take(orders);
    // More came than a page holds, while nobody looked: what is listed would have a gap above it.
    if (!ids.some((id) => list.ids.has(id))) [list.ids, list.token] = [new Set(), token];
    for (const id of ids) list.ids.add(id);
    return ids;
  }

  // What the server can search for; parts of an id or of a name are searched for among what is loaded.
  #query() {
    const asked = new URLSearchParams();
    if (CUSTOMER.test(this.text) && !isOrderId(this.text)) asked.set("customer_id", this.text);
    if (this.status) asked.set("status", this.status);
    return asked.toString();
  }

  async #page(query, after, signal) {
    const asked = new URLSearchParams(query);
    asked.set("page_size", String(PAGE));
    if (after) asked.set("page_token", after);
    const { orders = [], nextPageToken: token = "" } = await read(`/explorer/v1/orders?${asked}`, signal);
    return { orders, token };
  }

  #take(orders) {
    for (const order of orders) this.#orders.set(order.orderId, order);
    return orders.map(({ orderId }) => orderId);
  }

  // Orders that were running when they were read, and that no page has told of since.
  async #catchUp(current, signal) {
    const isStale = ({ orderId, status }) => status === "PENDING" && !current.has(orderId);
    if (![...this.#orders.values()].some(isStale)) return;
    let token = "";
    for (let page = 0; page < PENDING_PAGES_MAX; page++) {
      const asked = `/explorer/v1/orders?status=PENDING&page_size=${PAGE}&page_token=${encodeURIComponent(token)}`;
      const { orders = [], nextPageToken = "" } = await read(asked, signal);
      for (const order of orders) {
        current.add(order.orderId);
        if (this.#orders.has(order.orderId)) this.#orders.set(order.orderId, order);
      }
      token = nextPageToken;
      if (!token) break;
    }
    const ended = [...this.#orders.values()].filter(isStale).slice(0, SINGLE_READS_MAX);
    this.#take(await Promise.all(ended.map(({ orderId }) => read(`/explorer/v1/orders/${orderId}`, signal))));
  }

  // The order whose id is searched for, if it is not loaded.
  async #find(signal) {
    this.isUnknown = false;
    if (!isOrderId(this.text) || this.#orders.has(this.text.toLowerCase())) return;
    try {
      this.#take([await read(`/explorer/v1/orders/${this.text.toLowerCase()}`, signal)]);
    } catch (error) {
      if (!error.isAbsent) throw error;
      this.isUnknown = true;
    }
  }

  // The list of all keeps the newest; of the others is known what a list names.
  #drop() {
    const all = this.#list("");
    if (all.ids.size > ROWS_MAX) all.ids = new Set([...all.ids].sort().slice(-ROWS_MAX));
    const named = new Set([...this.#lists.values()].flatMap(({ ids }) => [...ids]).concat(this.text.toLowerCase()));
    for (const id of this.#orders.keys()) if (!named.has(id)) this.#orders.delete(id);
  }
}
