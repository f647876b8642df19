// Times, durations, money and names, as a person reads them.

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});
const SHORT_CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

// The reader's own, such as Europe/Berlin.
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

// Milliseconds since the epoch, or an RFC 3339 text.
export function clock(time) {
  return CLOCK.format(instant(time));
}

// Without milliseconds; with the day unless that is today's.
export function moment(time) {
  const short = SHORT_CLOCK.format(instant(time));
  return day(time) === day(Date.now()) ? short : `${day(time)} ${short}`;
}

export function day(time) {
  return DAY.format(instant(time));
}

// Milliseconds since the epoch of either form.
export function instant(time) {
  return typeof time === "string" ? Date.parse(time) : time;
}

// How long, from milliseconds: "0.4 ms", "14 ms", "1.32 s", "45 s", "3 min 20 s".
export function duration(ms) {
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

// Making one takes longer than using it.
const currencies = new Map();

// `{amountMinor, currencyCode}` as the APIs give it.
export function money(amount) {
  if (!amount?.currencyCode) return "";
  const { currencyCode: currency, amountMinor } = amount;
  if (!currencies.has(currency)) currencies.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  const format = currencies.get(currency);
  return format.format(Number(amountMinor) / 10 ** format.resolvedOptions().maximumFractionDigits);
}

// The last word of a full name: `shop.order.v1.OrderPlaced` is `OrderPlaced`, `shop.order.v1.OrderService/PlaceOrder` is `PlaceOrder`.
export function short(name) {
  return name.slice(Math.max(name.lastIndexOf("."), name.lastIndexOf("/")) + 1);
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
