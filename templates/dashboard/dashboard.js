"use strict";
// The dashboard: asks Prometheus through the gateway, and nobody else. Texts from outside are only
// ever put out as text. What is well is grey; colour is for what somebody must do.

const KEY = "bastide-key";
const EVERY = 15000; // ms between looks
const POINTS = 120; // of a chart
const SERVED = "llm|embeddings|vectordb";
const NAMES = { llm: "LLM", embeddings: "Embeddings", vectordb: "Vector DB" };
const UP = `haproxy_server_status{state="UP",server!="_hold",proxy=~"${SERVED}"}`;

const NOW = {
  info: "bastide_info",
  node: 'up{job="node"}',
  generation: "bastide_generation",
  good: "bastide_generation_good",
  transition: "bastide_transition_open",
  drift: "bastide_drift_files",
  units: "bastide_unit_active",
  restarts: "sum by (host) (increase(bastide_unit_restarts_total[1h]))",
  cpu: '1 - avg by (host) (rate(node_cpu_seconds_total{mode="idle"}[2m]))',
  memory: "1 - bastide:memory_available:ratio",
  disk: "1 - min by (host) (bastide:disk_free:ratio)",
  skew: "bastide:clock_skew:seconds",
  boot: "time() - node_boot_time_seconds",
  servers: UP,
  rate: "bastide:gateway_requests:rate5m",
  errors: "bastide:gateway_errors:ratio5m",
  busy: `sum by (proxy) (haproxy_server_current_sessions{server!="_hold",proxy=~"${SERVED}"})`,
  waiting: `sum by (proxy) (haproxy_backend_current_queue{proxy=~"${SERVED}"})`,
  certificates: "min by (certificate) (bastide:certificate_left:days)",
  backup: "time() - max(bastide_last_backup_timestamp_seconds)",
  verify: "time() - max(bastide_last_verify_timestamp_seconds)",
  verified: "min(bastide_last_verify_ok)",
  points: "sum(collection_points)",
  targets: "count(up)",
  answering: "count(up == 1)",
};

// Title, expression, how to show it, and the limit of an alert, if there is one.
const CHARTS = [
  ["Requests", "sum(bastide:gateway_requests:rate5m)", rate, null],
  ["First token, 95 %", "bastide:first_token_seconds:p95", seconds, null],
  ["Tokens written", "sum(bastide:output_tokens:rate1m)", tokens, null],
  ["LLM queue", "bastide:llm_requests:fill_ratio", percent, 0.9],
  ["Vector search, 99 %", "bastide:vector_search_seconds:p99", seconds, 0.1],
  ["Errors (5xx)", "max(bastide:gateway_errors:ratio5m)", percent, 0.05],
  ["LLM context held", "max(bastide:context_held:ratio)", percent, null],
  ["Busiest CPU", 'max(1 - avg by (host) (rate(node_cpu_seconds_total{mode="idle"}[2m])))', percent, null],
];

const at = (id) => document.getElementById(id);
let hours = 1;
let timer = 0;
let lastGood = null;
let asked = 0; // which look is the newest; older answers are dropped

class Refused extends Error {}

async function get(path, parameters) {
  const query = new URLSearchParams(parameters);
  const answer = await fetch(`api/v1/${path}?${query}`, {
    headers: { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` },
    credentials: "omit", // so that a wrong key does not open the browser's own password dialog
    cache: "no-store",
    signal: AbortSignal.timeout(10000),
  });
  if (answer.status === 401 || answer.status === 403) {
    throw new Refused(answer.status === 401 ? "This key is not known here." : "This key may not see the site's state.");
  }
  if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
  return (await answer.json()).data;
}

// --- how values are shown: number and unit --------------------------------------------------
function number(value) {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value === 0 ? "0" : value.toFixed(2);
}
function rate(value) { return [number(value), "/s"]; }
function tokens(value) { return [number(value), "/s"]; }
function percent(value) { return [value >= 0.0995 || value < 0.0005 ? (value * 100).toFixed(0) : (value * 100).toFixed(1), "%"]; }
function seconds(value) { return value < 0.9995 ? [number(value * 1000), "ms"] : [number(value), "s"]; }
function span(value) {
  const steps = { d: 86400, h: 3600, min: 60 };
  for (const unit of Object.keys(steps)) {
    if (value >= steps[unit]) return `${Math.floor(value / steps[unit])} ${unit}`;
  }
  return `${Math.max(0, Math.floor(value))} s`;
}
const shown = (value, show) => (value === undefined || Number.isNaN(value) ? "–" : show(value).join(" "));

// --- small parts ----------------------------------------------------------------------------
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function drawing(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key of Object.keys(attributes)) made.setAttribute(key, attributes[key]);
  return made;
}
function cell(title, content, className) {
  const made = element("td", className);
  made.dataset.name = title;
  if (content instanceof Node) made.append(content);
  else made.append(element("span", "", content));
  return made;
}
function bar(value, warn, bad) {
  const level = value >= bad ? "bad" : value >= warn ? "warn" : "";
  const made = element("span", `bar ${level}`);
  made.append(element("span", level, shown(value, percent)));
  const picture = drawing("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
  picture.append(drawing("rect", { width: 100 * Math.max(0, Math.min(1, value || 0)), height: 4 }));
  made.append(picture);
  return made;
}

// --- what Prometheus says, by label ---------------------------------------------------------
const value = (row) => Number(row.value[1]);
function by(rows, label) {
  const found = {};
  for (const row of rows) found[row.metric[label] || ""] = value(row);
  return found;
}
const single = (rows) => (rows.length ? value(rows[0]) : undefined);

function alertItem(alert) {
  const firing = alert.state === "firing";
  const item = element("li", firing ? alert.labels.severity : "pending");
  item.append(element("span", "level", firing ? (alert.labels.severity === "page" ? "Now" : "Ticket") : "Soon"));
  item.append(element("span", "what", alert.annotations.summary || alert.labels.alertname));
  const since = (Date.now() - Date.parse(alert.activeAt)) / 1000;
  item.append(element("span", "soft since", `${alert.labels.alertname}, for ${span(since)}`));
  if (firing) item.append(element("span", "do", alert.annotations.action || ""));
  return item;
}

function showVerdict(given) {
  const alerts = given.filter((each) => each.labels.severity !== "none"); // a sign of life asks for nothing
  const order = (alert) => (alert.state === "firing" ? (alert.labels.severity === "page" ? 0 : 1) : 2);
  const sorted = [...alerts].sort((a, b) => order(a) - order(b));
  const pages = sorted.filter((each) => order(each) === 0).length;
  const tickets = sorted.filter((each) => order(each) === 1).length;
  const things = (count) => `${count} ${count === 1 ? "thing" : "things"}`;
  let words = "All is well";
  if (pages) words = `${things(pages)} to do now`;
  else if (tickets) words = `Running; ${things(tickets)} to do on the next workday`;
  say(words, pages ? "page" : tickets ? "ticket" : "");
  at("alerts").replaceChildren(...sorted.map(alertItem));
  document.title = `${pages ? `(${pages}) ` : ""}${at("site").textContent}: ${words.toLowerCase()}`;
}
function say(words, level) {
  if (at("say").textContent !== words) at("say").textContent = words;
  at("verdict").className = `card verdict ${level}`;
}

function showServices(now) {
  const rows = Object.keys(NAMES).map((proxy) => {
    const row = element("tr");
    const name = element("th", "", NAMES[proxy]);
    name.scope = "row";
    const servers = element("span", "servers");
    for (const each of now.servers.filter((found) => found.metric.proxy === proxy)) {
      const up = value(each) === 1;
      servers.append(element("span", `dot ${up ? "" : "bad"}`, `${each.metric.server}${up ? "" : " is down"}`));
    }
    const errors = by(now.errors, "proxy")[proxy];
    row.append(
      name,
      cell("Servers", servers),
      cell("Requests/s", shown(by(now.rate, "proxy")[proxy], (each) => [number(each)]), "n"),
      cell("Errors", shown(errors, percent), errors > 0.05 ? "n bad" : "n"),
      cell("At work", shown(by(now.busy, "proxy")[proxy], (each) => [each]), "n"),
      cell("Waiting", shown(by(now.waiting, "proxy")[proxy], (each) => [each]), "n"),
    );
    return row;
  });
  at("services").replaceChildren(...rows);
}

function stateOf(host, now) {
  if (by(now.node, "host")[host] !== 1) return ["bad", "no answer"];
  const down = now.units.filter((each) => each.metric.host === host && value(each) !== 1);
  if (down.length) {
    return ["bad", `${down.map((each) => each.metric.unit.replace(/^bastide-|[.]service$/g, "")).join(", ")} down`];
  }
  const all = now.units.filter((each) => each.metric.host === host).length;
  return ["", `${all} units run`];
}
function generationOf(host, now) {
  const [drift, open] = [by(now.drift, "host")[host], by(now.transition, "host")[host]];
  const made = by(now.generation, "host")[host];
  if (made === undefined) return ["", "–"];
  if (drift > 0) return ["warn", `${made}, ${drift} files changed by hand`];
  if (open > 0) return ["warn", `${made}, a switch is under way`];
  return by(now.good, "host")[host] === 1 ? ["", `${made}, good`] : ["warn", `${made}, not proved`];
}

function showHosts(now) {
  const names = [...new Set(now.node.map((each) => each.metric.host))].sort();
  const rows = names.map((host) => {
    const row = element("tr");
    const name = element("th", "", host);
    name.scope = "row";
    const [state, words] = stateOf(host, now);
    const [generation, which] = generationOf(host, now);
    const pick = (rows) => by(rows, "host")[host];
    const [skew, restarts] = [pick(now.skew), pick(now.restarts)];
    row.append(
      name,
      cell("State", element("span", `dot ${state}`, words)),
      cell("Generation", element("span", generation, which)),
      cell("CPU", bar(pick(now.cpu), 2, 2)),
      cell("Memory", bar(pick(now.memory), 0.9, 0.97)),
      cell("Disk", bar(pick(now.disk), 0.7, 0.9)),
      cell("Clock", shown(skew, (each) => [`${each < -0.5 ? "−" : "+"}${Math.abs(each).toFixed(0)} s`]), Math.abs(skew) > 10 ? "n warn" : "n"),
      cell("Restarts 1 h", shown(restarts, (each) => [Math.round(each)]), restarts >= 3 ? "n bad" : "n"),
      cell("Up", shown(pick(now.boot), (each) => [span(each)]), "n"),
    );
    return row;
  });
  at("hosts").replaceChildren(...rows);
}

function showFacts(now) {
  const days = (left) => (left < 0 ? "ended" : `${Math.floor(left)} days`);
  const certificates = now.certificates.map((each) => `${each.metric.certificate}: ${days(value(each))}`).join(", ");
  const ago = (age) => (age === undefined ? "never noted" : `${span(age)} ago`);
  const verified = single(now.verified);
  const facts = [
    ["Certificates end in", certificates || "–"],
    ["Last backup", ago(single(now.backup))],
    ["Vectors stored", shown(single(now.points), (each) => [each.toLocaleString("en")])],
    ["Last verification", ago(single(now.verify)) + (verified === 0 ? ", failed" : "")],
    ["Metrics", `${single(now.answering) || 0} of ${single(now.targets) || 0} targets answer`],
    ["Releases", [...new Set(now.info.map((each) => each.metric.release))].join(", ") || "–"],
  ];
  at("facts").replaceChildren(...facts.flatMap(([name, text]) => [element("dt", "", name), element("dd", "", text)]));
}

function showHead(now) {
  if (!now.info.length) return;
  at("site").textContent = now.info[0].metric.site;
  at("release").textContent = `Bastide, ${[...new Set(now.info.map((each) => each.metric.release))].join(", ")}`;
}

// --- charts ---------------------------------------------------------------------------------
function path(points, top, closed) {
  const parts = [];
  let pen = false;
  points.forEach((each, index) => {
    if (each === null) { pen = false; return; }
    const x = ((index / (points.length - 1)) * 100).toFixed(2);
    const y = (30 - (each / top) * 28).toFixed(2);
    if (closed && !pen) parts.push(`M${x} 30L${x} ${y}`);
    else parts.push(`${pen ? "L" : "M"}${x} ${y}`);
    if (closed && (index === points.length - 1 || points[index + 1] === null)) parts.push(`L${x} 30Z`);
    pen = true;
  });
  return parts.join("");
}

function chart([title, , show, limit], points) {
  const known = points.filter((each) => each !== null);
  const latest = points.slice(-3).filter((each) => each !== null).pop();
  const most = Math.max(0, ...known);
  const made = element("figure", `card chart ${limit !== null && latest > limit ? "over-limit" : ""}`);
  const caption = element("figcaption");
  caption.append(element("span", "", title));
  caption.append(element("span", "scale", known.length ? `most ${show(most).join(" ")}` : ""));
  const big = element("p", "value");
  if (latest === undefined) big.append("–");
  else {
    const [digits, unit] = show(latest);
    big.append(digits, element("small", "", unit));
  }
  const near = limit !== null && most > limit / 4;
  const top = Math.max(most, near ? limit * 1.1 : 0) || 1;
  const picture = drawing("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
  const words = known.length ? `${shown(latest, show)} now, between ${show(Math.min(...known)).join(" ")} and ${show(most).join(" ")}` : "no data";
  picture.setAttribute("aria-label", `${title}: ${words}, in the last ${hours} h`);
  picture.append(drawing("line", { class: "base", x1: 0, x2: 100, y1: 30, y2: 30 }));
  picture.append(drawing("path", { class: "fill", d: path(points, top, true) }));
  picture.append(drawing("path", { class: "line", d: path(points, top, false) }));
  if (near) {
    const y = 30 - (limit / top) * 28;
    picture.append(drawing("line", { class: "limit", x1: 0, x2: 100, y1: y, y2: y }));
  }
  made.append(caption, big, picture);
  return made;
}

async function series(expression, end, step) {
  const data = await get("query_range", { query: expression, start: end - step * (POINTS - 1), end, step });
  const found = new Map((data.result.length ? data.result[0].values : []).map(([time, text]) => [Math.round(time), Number(text)]));
  return Array.from({ length: POINTS }, (_, index) => {
    const seen = found.get(Math.round(end - step * (POINTS - 1 - index)));
    return seen === undefined || !Number.isFinite(seen) ? null : seen;
  });
}

// --- one look, again and again --------------------------------------------------------------
async function look() {
  const mine = ++asked;
  const step = Math.round((hours * 3600) / POINTS);
  const end = Math.floor(Date.now() / 1000 / step) * step;
  const names = Object.keys(NOW);
  const { alerts } = await get("alerts", {}); // alone, so that a wrong key is refused once
  const [results, charts] = await Promise.all([
    Promise.all(names.map((name) => get("query", { query: NOW[name] }))),
    Promise.all(CHARTS.map((each) => series(each[1], end, step))),
  ]);
  if (mine !== asked) return;
  const now = Object.fromEntries(names.map((name, index) => [name, results[index].result]));
  lastGood = new Date();
  at("board").classList.remove("lost-sight");
  showHead(now);
  showVerdict(alerts);
  showServices(now);
  showHosts(now);
  showFacts(now);
  at("charts").replaceChildren(...CHARTS.map((each, index) => chart(each, charts[index])));
  at("when").textContent = `as of ${lastGood.toLocaleTimeString()}`;
}

async function keepLooking() {
  clearTimeout(timer);
  if (!sessionStorage.getItem(KEY)) return;
  try {
    await look();
    if (!sessionStorage.getItem(KEY)) return;
    openBoard();
  } catch (error) {
    if (error instanceof Refused) { openDoor(error.message); return; }
    openBoard();
    say("Monitoring does not answer: this page is blind", "lost");
    at("when").textContent = lastGood ? `last seen ${lastGood.toLocaleTimeString()}; trying again` : `${error.message}; trying again`;
    document.title = "Blind: monitoring does not answer";
  }
  timer = setTimeout(keepLooking, EVERY);
}

function openBoard() {
  at("door").hidden = true;
  at("board").hidden = at("tools").hidden = false;
}
function openDoor(refusal) {
  clearTimeout(timer);
  asked += 1;
  sessionStorage.removeItem(KEY);
  at("board").hidden = at("tools").hidden = true;
  at("door").hidden = false;
  at("refusal").textContent = refusal;
  at("site").textContent = "Monitoring";
  at("release").textContent = "Bastide";
  document.title = "Bastide";
  at("key").value = "";
  at("key").focus();
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("key").value.trim());
  keepLooking();
});
at("leave").addEventListener("click", () => openDoor(""));
for (const each of document.querySelectorAll("input[name=range]")) {
  each.addEventListener("change", () => { hours = Number(each.value); keepLooking(); });
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) keepLooking(); });
if (sessionStorage.getItem(KEY)) keepLooking();
else openDoor("");
