// The page: a list of verbs, one verb in full, and a place to try it.

import { drawEvents } from "/api/docs/events.js";
import { build, curl, send } from "/api/docs/request.js";
import { Types } from "/api/docs/types.js";

const METHODS = ["get", "post", "delete"];
const main = document.getElementById("main");
const nav = document.getElementById("nav");
const search = document.getElementById("search");
const token = document.getElementById("token");
let api = null;
let leave = null; // ends what the view that is shown has begun

// An element with attributes and children; text is always text, never markup.
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// `code` in descriptions.
function prose(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function read(document_) {
  const operations = [];
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const method of METHODS) {
      if (!item[method]) continue;
      const it = item[method];
      operations.push({
        ...it,
        id: it.operationId,
        path,
        method: method.toUpperCase(),
        verb: it["x-vdsm-verb"],
        group: it.tags[0],
        parameters: it.parameters ?? [],
        body: it.requestBody?.content["application/json"].schema,
        bodyRequired: it.requestBody?.required ?? false,
      });
    }
  }
  const byName = (operation) => operation.path.startsWith("/api/verbs/");
  return {
    document: document_,
    types: new Types(document_.components.schemas),
    operations,
    shown: operations.filter((operation) => !byName(operation)),
    errors: new Map(document_["x-vdsm-errors"].map((error) => [error.slug, error])),
  };
}

function matches(operation, words) {
  const text = [operation.id, operation.path, operation.summary, operation.description, ...operation.parameters.map((p) => p.name)]
    .join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function badge(method) {
  return el("span", { class: `method ${method.toLowerCase()}` }, method);
}

function drawNav() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map();
  for (const operation of api.shown) {
    if (!matches(operation, words)) continue;
    if (!groups.has(operation.group)) groups.set(operation.group, []);
    groups.get(operation.group).push(operation);
  }
  const current = decodeURIComponent(location.hash.slice(1));
  const parts = [...groups].sort(([a], [b]) => a.localeCompare(b)).map(([group, operations]) =>
    el("section", {},
      el("h2", {}, group),
      el("ul", {}, operations.map((operation) =>
        el("li", {},
          el("a", { href: `#${operation.id}`, "aria-current": operation.id === current ? "page" : undefined, title: operation.summary },
            badge(operation.method), el("span", {}, label(operation))))))));
  if (!parts.length) parts.push(el("p", { class: "quiet" }, "No verb fits."));
  nav.replaceChildren(...parts, el("section", {}, el("ul", {},
    el("li", {}, el("a", { href: "#live-events" }, "Live events")), el("li", {}, el("a", { href: "#errors" }, "All errors")))));
}

function label(operation) {
  if (!operation.verb) return operation.path;
  const [namespace, method] = operation.verb.split(".");
  return namespace === operation.group ? method : operation.verb;
}

function memberTable(types, schema, depth = 0) {
  const members = types.members(schema);
  if (!members.length || depth > 5) return null;
  return el("table", { class: "members" }, el("tbody", {}, members.map(({ name, type, required }) => {
    const inner = memberTable(types, type, depth + 1);
    const full = types.resolve(type);
    return el("tr", {},
      el("th", { scope: "row" }, el("code", {}, name), required ? null : el("span", { class: "quiet" }, " optional")),
      el("td", {},
        el("span", { class: "type" }, types.text(type)),
        "default" in full ? el("span", { class: "quiet" }, ` default ${JSON.stringify(full.default)}`) : null,
        full.description && !type.$ref && full.format !== "uuid" ? el("div", { class: "quiet" }, prose(full.description)) : null,
        inner ? el("details", {}, el("summary", {}, "members"), inner) : null));
  })));
}

function parameterRows(operation) {
  const types = api.types;
  const rows = operation.parameters.filter((parameter) => parameter.in !== "header").map((parameter) => {
    const schema = parameter.schema ?? parameter.content["application/json"].schema;
    return { name: parameter.name, place: parameter.in, schema, required: parameter.required, doc: parameter.description };
  });
  if (operation.body?.properties && !operation.body.title) {
    for (const { name, type, required } of types.members(operation.body)) {
      rows.push({ name, place: "body", schema: type, required, doc: type.description });
    }
  }
  return rows;
}

function parameterTable(operation) {
  const rows = parameterRows(operation);
  if (!rows.length) return null;
  const types = api.types;
  return el("section", {},
    el("h3", {}, "Parameters"),
    el("table", { class: "parameters" },
      el("thead", {}, el("tr", {}, ["Name", "In", "Type", "Meaning"].map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => {
        const inner = memberTable(types, row.schema);
        return el("tr", {},
          el("th", { scope: "row" }, el("code", {}, row.name), row.required ? el("span", { class: "needed" }, " required") : null),
          el("td", {}, row.place),
          el("td", {},
            el("span", { class: "type" }, types.text(row.schema)),
            "default" in row.schema ? el("div", { class: "quiet" }, `default ${JSON.stringify(row.schema.default)}`) : null),
          el("td", {}, prose(row.doc ?? types.resolve(row.schema).description), inner ? el("details", {}, el("summary", {}, "members"), inner) : null));
      }))));
}

function bodySection(operation) {
  if (!operation.body || (operation.body.properties && !operation.body.title)) return null;
  return el("section", {}, el("h3", {}, "Body"),
    el("p", {}, el("span", { class: "type" }, api.types.text(operation.body)), " ", ...prose(api.types.resolve(operation.body).description)),
    memberTable(api.types, operation.body));
}

function resultSection(operation) {
  const [status, reply] = Object.entries(operation.responses).find(([code]) => code.startsWith("2"));
  let schema = reply.content?.["application/json"]?.schema;
  const partial = (it) => (it?.anyOf?.[1]?.description?.includes("`fields`") ? it.anyOf[0] : it);
  schema = partial(schema);
  if (schema?.type === "array") schema = { ...schema, items: partial(schema.items) };
  return el("section", {}, el("h3", {}, "Result"),
    el("p", {}, el("span", { class: `status s${status[0]}` }, status), " ",
      schema ? el("span", { class: "type" }, api.types.text(schema)) : null, " ", ...prose(reply.description === "OK" ? "" : reply.description)),
    schema ? memberTable(api.types, schema) : null);
}

function errorSection(operation) {
  const rows = Object.entries(operation.responses).filter(([code]) => code >= "400").map(([code, reply]) => {
    const slugs = [...reply.description.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
    return el("tr", {}, el("td", {}, el("span", { class: `status s${code[0]}` }, code)),
      el("td", {}, slugs.map((slug) => el("div", {}, el("a", { href: `#errors/${slug}` }, slug), " ",
        el("span", { class: "quiet" }, (api.errors.get(slug)?.description ?? "").split(" Facts:")[0])))));
  });
  return el("details", { class: "errors" }, el("summary", {}, el("h3", {}, "Errors")), el("table", {}, el("tbody", {}, rows)));
}

function field(parameter, values, changed) {
  const schema = parameter.schema ?? {};
  const common = { id: `p-${parameter.name}`, name: parameter.name, "aria-describedby": `d-${parameter.name}` };
  let input;
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices) {
    input = el("select", common, el("option", { value: "" }, ""), choices.map((value) => el("option", {}, String(value))));
  } else if (schema.type === "array" || parameter.content) {
    input = el("textarea", { ...common, rows: 2, placeholder: parameter.content ? "JSON" : "one in a line" });
  } else {
    const hint = "default" in schema ? String(schema.default) : "";
    input = el("input", { ...common, placeholder: hint, inputmode: schema.type === "integer" ? "numeric" : undefined, autocomplete: "off", spellcheck: "false" });
  }
  input.addEventListener("input", () => { values[parameter.name] = input.value; changed(); });
  return el("label", { class: parameter.in === "header" ? "field head" : "field" },
    el("span", {}, el("code", {}, parameter.name), parameter.required ? el("span", { class: "needed" }, " required") : null), input);
}

function tryPanel(operation) {
  const values = {};
  const plain = operation.parameters.filter((parameter) => parameter.in !== "header");
  const headers = operation.parameters.filter((parameter) => parameter.in === "header");
  const editor = operation.body
    ? el("textarea", { id: "body", class: "editor", rows: 6, spellcheck: "false", "aria-label": "Body, JSON" }) : null;
  if (editor) {
    editor.value = JSON.stringify(api.types.example(operation.body), null, 2);
    editor.rows = Math.min(18, editor.value.split("\n").length + 1);
  }
  const command = el("pre", { class: "curl", tabindex: "0", "aria-label": "The request as curl" });
  const outcome = el("div", { id: "outcome", role: "status" });
  const button = el("button", { type: "submit" }, "Send", el("kbd", {}, "Ctrl ↵"));
  const make = () => build(operation, values, editor?.value ?? "", token.value);
  const changed = () => {
    try {
      command.textContent = curl(make(), location.origin);
      command.classList.remove("wrong");
      button.disabled = false;
    } catch (error) {
      command.textContent = error instanceof SyntaxError ? `The body is not JSON yet: ${error.message}` : error.message;
      command.classList.add("wrong");
      button.disabled = true;
    }
  };
  const submit = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    outcome.replaceChildren(el("p", { class: "quiet" }, "Waiting for the answer…"));
    try {
      outcome.replaceChildren(...answer(await send(make())));
    } catch (error) {
      outcome.replaceChildren(el("p", { class: "problem" }, `No answer: ${error.message}`));
    }
    button.disabled = false;
  };
  const form = el("form", { class: "try", onsubmit: submit, onkeydown: (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  } },
    el("h3", {}, "Try it"),
    plain.map((parameter) => field(parameter, values, changed)),
    editor ? el("label", { class: "field" }, el("span", {}, "Body", operation.bodyRequired ? el("span", { class: "needed" }, " required") : null), editor) : null,
    headers.length ? el("details", {}, el("summary", {}, "Headers"), headers.map((parameter) => field(parameter, values, changed))) : null,
    command,
    el("p", { class: "send" }, button, operation.method === "GET" ? null : el("span", { class: "quiet" }, "This changes the host.")),
    outcome);
  editor?.addEventListener("input", changed);
  token.oninput = changed;
  changed();
  return form;
}

function answer(reply) {
  let text = reply.text;
  try {
    text = JSON.stringify(JSON.parse(text), null, 2);
  } catch { /* not JSON: shown as it came */ }
  const where = reply.headers.find(([name]) => name === "location");
  return [
    el("p", {}, el("span", { class: `status s${String(reply.status)[0]}` }, `${reply.status} ${reply.reason}`),
      el("span", { class: "quiet" }, ` in ${reply.milliseconds.toFixed(0)} ms, ${reply.text.length} characters`),
      where ? el("span", {}, ", Location ", el("code", {}, where[1])) : null),
    text ? el("pre", { class: "reply", tabindex: "0" }, text) : null,
    el("details", {}, el("summary", {}, "Headers of the answer"),
      el("pre", {}, reply.headers.map(([name, value]) => `${name}: ${value}`).join("\n"))),
  ].filter(Boolean);
}

function facts(operation) {
  if (!operation.verb) return null;
  const it = [
    ["Role", operation["x-vdsm-access"]], ["Kind", operation["x-vdsm-kind"]],
    ["Since", operation["x-vdsm-since"]], ["Plugin", operation["x-vdsm-plugin"]],
  ];
  return el("dl", { class: "facts" }, it.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function drawOperation(operation) {
  const other = api.operations.find((it) => it.verb && it.verb === operation.verb && it.path.startsWith("/api/verbs/"));
  main.replaceChildren(
    el("div", { class: "reading" },
      el("h1", {}, operation.verb ?? operation.path),
      el("p", { class: "route" }, badge(operation.method), el("code", {}, operation.path)),
      el("p", { class: "lead" }, prose(operation.summary)),
      (operation.description ?? "").split("\n\n").filter(Boolean).map((text) => el("p", {}, prose(text))),
      facts(operation),
      parameterTable(operation), bodySection(operation), resultSection(operation), errorSection(operation),
      other ? el("p", { class: "quiet" }, "Also ", el("code", {}, `POST ${other.path}`), " with all arguments in one JSON object.") : null),
    operation.id === "events" ? el("p", {}, el("a", { href: "#live-events" }, "Watch events live")) : tryPanel(operation));
}

function drawErrors(slug) {
  const rows = [...api.errors.values()].map((error) =>
    el("tr", { id: `error-${error.slug}`, class: error.slug === slug ? "wanted" : undefined },
      el("td", {}, el("span", { class: `status s${String(error.status)[0]}` }, String(error.status))),
      el("th", { scope: "row" }, el("code", {}, error.slug)), el("td", {}, String(error.code)), el("td", {}, prose(error.description))));
  main.replaceChildren(el("div", { class: "reading wide" }, el("h1", {}, "Errors"),
    el("p", { class: "lead" }, "An error is an application/problem+json document. Programs compare its slug; the code is the number that VDSM had for it."),
    el("table", {}, el("thead", {}, el("tr", {}, ["Status", "Slug", "Code", "Meaning"].map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows))));
  document.getElementById(`error-${slug}`)?.scrollIntoView({ block: "center" });
}

function drawStart() {
  const { info, tags } = api.document;
  const described = new Map((tags ?? []).map((tag) => [tag.name, tag.description]));
  const groups = [...new Set(api.shown.filter((operation) => operation.verb).map((operation) => operation.group))].sort();
  main.replaceChildren(el("div", { class: "reading wide" },
    el("h1", {}, info.summary),
    el("p", { class: "lead" }, `${new Set(api.operations.map((it) => it.verb).filter(Boolean)).size} verbs. Choose one on the left, or search.`),
    el("table", {}, el("tbody", {}, groups.map((group) => el("tr", {}, el("th", { scope: "row" }, group), el("td", {}, described.get(group) ?? ""))))),
    el("p", {}, "Every verb can also be called by its name, ", el("code", {}, "POST /api/verbs/{name}"), ", with one JSON object of arguments. The whole API as a document: ",
      el("a", { href: "/api/openapi.json" }, "openapi.json"), ".")));
}

function draw() {
  if (!api) return;
  const id = decodeURIComponent(location.hash.slice(1));
  const operation = api.operations.find((it) => it.id === id);
  main.scrollTop = 0;
  leave?.();
  leave = null;
  document.title = operation ? `${operation.verb ?? operation.path} – vdsm API` : "vdsm API";
  if (operation) drawOperation(operation);
  else if (id === "live-events") leave = drawEvents(main, el, token);
  else if (id === "errors" || id.startsWith("errors/")) drawErrors(id.slice(7));
  else drawStart();
  drawNav();
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const links = [...nav.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
}

async function load() {
  const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
  try {
    const response = await fetch("/api/openapi.json", { headers, credentials: "omit" });
    if (!response.ok) throw new Error(response.status === 401 ? "A token is needed here." : (await response.json()).detail);
    api = read(await response.json());
    document.getElementById("version").textContent = api.document.info.version;
    draw();
  } catch (error) {
    main.replaceChildren(el("p", { class: "problem" }, error.message));
  }
}

search.addEventListener("input", () => api && drawNav());
token.addEventListener("change", () => api || load());
window.addEventListener("hashchange", draw);
document.addEventListener("keydown", (event) => {
  const typing = /^(input|textarea|select)$/i.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && event.target === search) {
    search.value = "";
    drawNav();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (event.target === search || nav.contains(event.target))) {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter" && event.target === search) {
    nav.querySelector("a")?.click();
    main.focus();
  }
});
load();
