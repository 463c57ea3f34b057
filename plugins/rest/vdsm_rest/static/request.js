// Requests: from what a person filled in to a fetch and to the same as a curl command.

export function build(operation, values, bodyText, token) {
  let path = operation.path;
  const query = [];
  const headers = { Accept: "application/json" };
  for (const parameter of operation.parameters) {
    const text = values[parameter.name] ?? "";
    if (text === "" && parameter.in !== "path") continue;
    if (parameter.in === "path") {
      if (text === "") throw new Error(`${parameter.name} is needed`);
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(text));
    } else if (parameter.in === "header") {
      headers[parameter.name] = text;
    } else {
      const several = (parameter.schema ?? {}).type === "array" ? text.split("\n").filter(Boolean) : [text];
      for (const one of several) query.push(`${encodeURIComponent(parameter.name)}=${encodeURIComponent(one)}`);
    }
  }
  if (query.length) path += `?${query.join("&")}`;
  if (token) headers.Authorization = `Bearer ${token}`;
  const request = { method: operation.method, path, headers };
  if (operation.body && bodyText.trim()) {
    JSON.parse(bodyText);
    headers["Content-Type"] = "application/json";
    request.body = bodyText;
  }
  return request;
}

export function curl(request, origin) {
  const words = ["curl"];
  if (request.method !== "GET") words.push("-X", request.method);
  words.push(quote(origin + request.path));
  for (const [name, value] of Object.entries(request.headers)) {
    if (name === "Accept") continue;
    words.push("-H", quote(`${name}: ${name === "Authorization" ? "Bearer $TOKEN" : value}`, name === "Authorization"));
  }
  if (request.body) words.push("-d", quote(compact(request.body)));
  return words.join(" ");
}

export async function send(request) {
  const begun = performance.now();
  const response = await fetch(request.path, {
    method: request.method,
    headers: request.headers,
    body: request.body,
    credentials: "omit",
    cache: "no-store",
  });
  const text = await response.text();
  const milliseconds = performance.now() - begun;
  return { status: response.status, reason: response.statusText, headers: [...response.headers], text, milliseconds };
}

function quote(text, expand = false) {
  if (expand) return `"${text}"`;
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text;
  }
}
