// Types for people: JSON Schema as short text, as a list of members, and as an example to start from.

export class Types {
  constructor(schemas) {
    this.schemas = schemas;
  }

  resolve(schema) {
    if (!schema?.$ref) return schema ?? {};
    const { $ref, ...rest } = schema;
    return { ...this.schemas[$ref.split("/").pop()], ...rest };
  }

  // One line: `integer 0–100 %`, `"red" | "green"`, `list of Lamp`.
  text(schema) {
    if (schema?.$ref) return schema.$ref.split("/").pop();
    const it = schema ?? {};
    if ("const" in it) return JSON.stringify(it.const);
    if (it.enum) return it.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (it.anyOf) return it.anyOf.map((choice) => this.text(choice)).join(" or ");
    if (it.type === "array") return `list of ${this.text(it.items)}`;
    if (it.type === "object") {
      if (it.properties) return it.title ?? "object";
      return it.additionalProperties ? `map of ${this.text(it.additionalProperties)}` : "object";
    }
    if (!it.type) return "anything";
    return [it.format === "uuid" ? "UUID" : NAMES[it.type] ?? it.type, bounds(it), it["x-unit"] ?? ""].filter(Boolean).join(" ");
  }

  // The members of the object that a type is, or holds.
  members(schema) {
    const it = this.resolve(schema);
    if (it.properties) {
      const required = new Set(it.required ?? []);
      return Object.entries(it.properties).map(([name, type]) => ({ name, type, required: required.has(name) }));
    }
    if (it.type === "array") return this.members(it.items);
    if (it.type === "object" && typeof it.additionalProperties === "object") return this.members(it.additionalProperties);
    if (it.anyOf) return this.members(it.anyOf[0]);
    return [];
  }

  // A value to start from: what is required, and defaults.
  example(schema, depth = 0) {
    const it = this.resolve(schema);
    if ("default" in it) return it.default;
    if ("const" in it) return it.const;
    if (it.enum) return it.enum[0];
    if (it.anyOf) return this.example(it.anyOf[0], depth);
    if (it.properties && depth < 4) {
      const shown = Object.entries(it.properties).filter(([name]) => (it.required ?? []).includes(name));
      return Object.fromEntries(shown.map(([name, type]) => [name, this.example(type, depth + 1)]));
    }
    if (it.format === "uuid") return uuid();
    return { array: [], object: {}, integer: it.minimum ?? 0, number: it.minimum ?? 0, boolean: false, null: null }[it.type] ?? "";
  }
}

const NAMES = { string: "text", integer: "whole number", number: "number", boolean: "true or false", null: "nothing" };

function bounds(schema) {
  // What a number of JavaScript cannot hold is no bound for a reader either.
  const it = { ...schema };
  for (const bound of ["minimum", "maximum"]) if (Math.abs(it[bound]) > Number.MAX_SAFE_INTEGER) delete it[bound];
  if (it.minimum !== undefined && it.maximum !== undefined) return `${it.minimum} to ${it.maximum}`;
  if (it.minimum !== undefined) return `from ${it.minimum}`;
  if (it.maximum !== undefined) return `to ${it.maximum}`;
  if (it.maxLength !== undefined) return `of at most ${it.maxLength} characters`;
  return "";
}

// crypto.randomUUID is not there on plain HTTP from elsewhere than localhost.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
