import { textMethod, type Budget } from "./template-texts.ts";
import { areSame, bound, callableOf, integerOf, isList, isMapping, isNamespace, isText, listOf, mappingOf, none, textOf, tupleOf, type Call, type Value } from "./template-values.ts";

/**
 * What Jinja finds as `object.name` or `object[key]`: of a mapping, its methods come first after a dot, its keys in brackets.
 * @returns undefined where there is no such thing
 */
export function memberOf(object: Value, property: Value, byIndex: boolean, budget: Budget): Value | undefined {
  if (property.type === "IntegerValue") return element(object, property.value as number);
  if (!isText(property)) return undefined;
  const name = property.value;
  if (isNamespace(object)) return object.value.get(name);
  if (isMapping(object)) return byIndex ? (object.value.get(name) ?? mappingMethod(object.value, name)) : (mappingMethod(object.value, name) ?? object.value.get(name));
  if (isText(object)) return textMethod(object.value, name, budget);
  return isList(object) ? listMethod(object.value, name) : undefined;
}

function element(object: Value, index: number): Value | undefined {
  if (isList(object)) return object.value.at(index);
  if (!isText(object)) return undefined;
  const character = /[\ud800-\udfff]/.test(object.value) ? Array.from(object.value).at(index) : object.value.at(index);
  return character === undefined ? undefined : textOf(character);
}

type Entries = ReadonlyMap<string, Value>;

/** Jinja's sandbox has those methods alone that change nothing. */
const mappingMethods: Readonly<Record<string, (entries: Entries, call: Call) => Value>> = {
  get: (entries, call) => {
    const [key, fallback] = bound(call, "key", "default");
    return (key && isText(key) ? entries.get(key.value) : undefined) ?? fallback ?? none();
  },
  keys: plain((entries) => listOf(Array.from(entries.keys(), textOf))),
  values: plain((entries) => listOf([...entries.values()])),
  items: plain((entries) => listOf(Array.from(entries, ([key, value]) => tupleOf([textOf(key), value])))),
  copy: plain(mappingOf),
};

function plain(make: (entries: Entries) => Value): (entries: Entries, call: Call) => Value {
  return (entries, call) => {
    bound(call);
    return make(entries);
  };
}

function mappingMethod(entries: Entries, name: string): Value | undefined {
  const method = Object.hasOwn(mappingMethods, name) ? mappingMethods[name] : undefined;
  return method && callableOf((call) => method(entries, call));
}

function listMethod(values: readonly Value[], name: string): Value | undefined {
  if (name === "count") return callableOf(({ args: [wanted] }) => integerOf(values.filter((value) => wanted && areSame(value, wanted)).length));
  if (name !== "index") return undefined;
  return callableOf(({ args: [wanted] }) => {
    const at = values.findIndex((value) => wanted && areSame(value, wanted));
    if (at === -1) throw new Error("the value is not in the list");
    return integerOf(at);
  });
}
