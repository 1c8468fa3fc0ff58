"use strict";
// What is shown comes from Redis and from tweets: it becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const MOST_RULES = 100, MOST_GAPS = 20, PATIENCE_MS = 65000;
const HAMPERED = ["backing-off", "stalled", "silent", "stopping"];
const ACTING = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]/g;
let refreshMs = 2000, shownAt = "", awaySince = "";

// Pieces of the page

/** What strangers wrote, in which nothing turns what stands beside it. */
const plain = (text) => String(text ?? "").replace(ACTING, escaped);
const escaped = (sign) => "\\u" + sign.codePointAt(0).toString(16).padStart(4, "0");

function element(name, attributes, ...inside) {
  const made = ["svg", "rect"].includes(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) if (value !== undefined) made.setAttribute(key, value);
  made.append(...inside.flat().map((one) => (one instanceof Node ? one : plain(one))));
  return made;
}

/** Make `shown` like `made`, and leave alone what is so already: a selection and a focus stay. */
function renew(shown, made) {
  if (shown.isEqualNode(made)) return;
  if (shown.nodeName !== made.nodeName || shown.nodeType === Node.TEXT_NODE) return shown.replaceWith(made);
  for (const { name } of [...shown.attributes]) if (!made.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of made.attributes) shown.setAttribute(name, value);
  const [before, after] = [[...shown.childNodes], [...made.childNodes]];
  after.forEach((node, at) => (before[at] ? renew(before[at], node) : shown.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

function fill(id, ...inside) {
  const shown = document.getElementById(id), made = shown.cloneNode(false);
  made.append(...inside.flat());
  renew(shown, made);
}

const clock = (iso) => new Date(iso).toLocaleTimeString([], { hourCycle: "h23" });
const number = (value) => (value ?? 0).toLocaleString("en", { maximumFractionDigits: 1 });
const big = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
const badge = (one) => element("span", { class: `badge ${look(one)}` }, one.seen_as.replaceAll("-", " "));
const look = (one) => (one.needs.length ? "bad" : HAMPERED.includes(one.seen_as) ? "hampered" : one.living ? "living" : "");
/** A text of ours, with what is to be typed between backticks. */
const told = (text) => text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
const link = (name) => element("a", { href: `#${name}` }, name);

/** A bar for each rate; the highest fills its place. */
function bars(rates, kind) {
  const highest = Math.max(...rates, 0) || 1, wide = Math.max(rates.length, 30);
  const drawn = rates.map((rate, at) => {
    const height = Math.max(1, (30 * rate) / highest).toFixed(1);
    return element("rect", { class: "written", x: 4 * (wide - rates.length + at), y: 30 - height, width: 3, height });
  });
  const label = `tweets a second in the last five minutes: at most ${number(Math.max(...rates, 0))}`;
  const shape = { viewBox: `0 0 ${4 * wide} 30`, preserveAspectRatio: "none" };
  return element("svg", { class: kind, ...shape, role: "img", "aria-label": label }, drawn);
}

/** On a phone its rows are cards. */
function table(columns, rows) {
  const kindOf = (name) => (name.startsWith(">") ? "number" : undefined);
  const heads = columns.map((name) => element("th", { class: kindOf(name) }, name.replace(">", "")));
  const head = element("thead", {}, element("tr", {}, heads));
  return element("div", { class: "wide" }, element("table", { class: "cards" }, head, element("tbody", {}, rows)));
}

const cell = (name, kind, ...inside) => element("td", { "data-name": name, class: kind }, ...inside);

// The fleet

function fleet(seen) {
  const shown = seen.traptors.filter((one) => one.shown).sort((a, b) => !a.needs.length - !b.needs.length);
  const sum = (field) => shown.reduce((total, one) => total + (one.status?.[field] ?? 0), 0);
  return [
    element("dl", {},
      big("Traptors that live", `${shown.filter((one) => one.living).length} of ${shown.length}`),
      big("tweets a second", number(sum("tweets_per_second"))),
      big("matched", number(sum("matched"))),
      big("wait for Kafka", number(sum("waiting"))),
      big("rules", number(shown.reduce((total, one) => total + one.rules_in_redis, 0)))),
    attention(seen.needs),
    seen.remarks.map((text) => element("p", {}, told(text))),
    shown.length ? table(COLUMNS, shown.map(line)) : element("p", {}, "No Traptor and no rules are in this Redis."),
  ].flat();
}

const attention = (needs) => needs.length
  ? element("div", { class: "note bad" }, element("ul", {}, needs.map((text) => element("li", {}, told(text)))))
  : element("p", { class: "note" }, "Nothing needs a person.");

const COLUMNS = ["Traptor", "state", ">since", ">rules", ">tweets/s", "5 min", ">last tweet", ">withheld", ">spool", ">gaps", "host"];

function line(one) {
  const { words } = one;
  const count = (name) => cell(name, "number", words[name]);
  return element("tr", { class: one.needs.length ? "bad" : undefined },
    cell(undefined, "name", link(one.traptor)), cell(undefined, "aside", badge(one)),
    count("since"), count("rules"), count("tweets/s"),
    cell("5 min", "whole", bars(one.status?.rates ?? [], "spark")),
    count("last tweet"), count("withheld"), count("spool"), count("gaps"), cell("host", "full soft host", words.host));
}

// One Traptor

function single(seen) {
  const rules = [...seen.rules].sort((a, b) => b.matches - a.matches), most = rules[0]?.matches || 1;
  const gaps = seen.gaps.slice(-MOST_GAPS).reverse(), none = element("p", {}, "None.");
  const rates = seen.status?.rates ?? [], facts = seen.facts.filter(([name]) => name !== "last 5 minutes");
  return [
    element("p", {}, element("a", { href: "#" }, "← all Traptors")),
    element("h2", {}, seen.traptor, badge(seen)),
    ...(seen.needs.length ? [attention(seen.needs.map((text) => `${seen.traptor} ${text}`))] : []),
    element("p", {}, `Tweets a second in the last five minutes, at most ${number(Math.max(...rates, 0))}`),
    bars(rates, "chart"),
    element("dl", { class: "facts" }, facts.map(([name, value]) => big(name, value))),
    element("h2", {}, `Rules (${number(rules.length)})`),
    rules.length ? table(RULES, rules.slice(0, MOST_RULES).map((rule) => ruleLine(rule, most))) : none,
    element("p", {}, rules.length > MOST_RULES ? `The ${MOST_RULES} that match most; "traptor stats" has all.` : ""),
    element("h2", {}, "Gaps"),
    gaps.length ? table(GAPS, gaps.map(gapLine)) : none.cloneNode(true),
  ];
}

const RULES = ["rule", "tag", "value", ">matches", ">a minute"], GAPS = ["from (UTC)", ">lasted", "cause", ">tries"];

function ruleLine(rule, most) {
  const bar = element("rect", { class: "written", width: (100 * rule.matches) / most, height: 1 });
  const shape = { class: "bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" };
  return element("tr", {},
    cell(undefined, "name", rule.rule_id), cell(undefined, "aside soft", rule.tag), cell("value", "whole", rule.value),
    cell("matches", "number matches", number(rule.matches), element("svg", shape, bar)),
    cell("a minute", "number", number(rule.per_minute)));
}

const gapLine = (gap) => element("tr", {},
  cell("from (UTC)", "full", gap.words[0].replace("T", " ")), cell("lasted", "number", gap.words[1]),
  cell("cause", "full", gap.cause), cell("tries", "number", gap.reconnects));

// The last tweets

function tweets(seen) {
  document.getElementById("latest").hidden = false;
  fill("no-tweets", plain(seen.trouble || (seen.tweets.length ? "" : "None has come since you look.")));
  fill("tweets", seen.tweets.map((tweet) => element("li", {}, head(tweet), body(tweet))));
}

const head = (tweet) => element("div", { class: "head" },
  tweet.at ? clock(tweet.at) : "", " ", element("span", { class: "tag" }, tweet.tags), ` @${tweet.by} `,
  tweet.where && `· ${tweet.where}`);

const body = (tweet) => element("div", { class: "text", dir: "auto" },
  tweet.text.map(([text, isMarked]) => (isMarked ? element("mark", {}, text) : text)));

// Staying fresh

async function asked(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  return { isWell: answer.ok, ...(await answer.json()) };
}

function trouble(text, since) {
  const shown = document.getElementById("trouble");
  shown.hidden = !text;
  const told = plain((since ? `Since ${clock(since)}: ` : "") + `${text}.`);
  shown.textContent = text && told + (shownAt && ` What you see is of ${shownAt}.`) + " It is tried again.";
}

async function refresh() {
  const name = location.hash.slice(1);
  try {
    const [seen, latest] = await Promise.all([asked(name ? `status/${name}.json` : "status.json"), asked("tweets.json")]);
    awaySince = "";
    tweets(latest);
    if (name !== location.hash.slice(1)) return;
    if (seen.isWell) {
      refreshMs = 1000 * seen.refresh_seconds;
      shownAt = clock(seen.at);
      fill("view", name ? single(seen) : fleet(seen));
      fill("freshness", `as of ${shownAt}`);
    }
    trouble(seen.trouble ?? "", seen.since);
  } catch (error) {
    awaySince ||= new Date().toISOString();
    trouble(`"traptor status --serve" does not answer (${error.message})`, awaySince);
  }
}

async function forever() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => setTimeout(done, refreshMs));
  }
}

addEventListener("hashchange", refresh);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
forever();
