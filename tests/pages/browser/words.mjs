// The words of the pages, read from the files that the server has them from: a life is the same in each language.

import { readFileSync } from "node:fs";

const ENTRY = /^([a-z-]+) = (.*)$/;

/** `t(key, values)`: a sentence as the page has it. Keys with a choice of plurals are no single sentence, and are refused. */
export function words(lang) {
  const file = new URL(`../../../web/words/${lang}.ftl`, import.meta.url);
  const found = readFileSync(file, "utf8").split("\n").flatMap((line) => {
    const [, key, text] = ENTRY.exec(line) ?? [];
    return key ? [[key, text]] : [];
  });
  const entries = new Map(found);
  return (key, values = {}) => {
    const text = entries.get(key);
    if (text === undefined) throw new Error(`${lang}.ftl has no ${key}`);
    return text.replaceAll(/\{ \$([a-z]+)(.*?) ?\}/g, (whole, name, more) => {
      if (more || !(name in values)) throw new Error(`${key}: ${whole} cannot be filled in`);
      return values[name];
    });
  };
}
