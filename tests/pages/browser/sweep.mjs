// Each page in both languages, both themes and two widths, looked at as a person with and without sight, mouse and patience would.
//
// The scene's `pages`: [{ name, path, who }]; who: null, "member" or "operator". Its `looks`: others than those below.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { barriers, pictures, play, troubles, unreached } from "./lib.mjs";

const HTML_MAX = 60 * 1024;

/** Of three pairs of choices, four by which each two of them meet in each way; with SLOTCAST_PAGES=all, all eight. */
function looks() {
  const all = ["en", "ja"].flatMap((lang) =>
    ["light", "dark"].flatMap((theme) => [360, 1280].map((width) => ({ lang, theme, width }))),
  );
  const odd = ({ lang, theme, width }) => ((lang === "ja") + (theme === "dark") + (width === 1280)) % 2 === 0;
  return process.env.SLOTCAST_PAGES === "all" ? all : all.filter(odd);
}

await play(async ({ scene, step, open, find }) => {
  mkdirSync(pictures, { recursive: true });
  for (const look of scene.looks ?? looks()) {
    const visitors = new Map();
    const visitor = async (who) => {
      if (!visitors.has(who)) {
        const page = await open(look);
        if (who) await logIn(page, scene[who]);
        visitors.set(who, page);
      }
      return visitors.get(who);
    };
    for (const { name, path, who = null, keys = true } of scene.pages) {
      const label = `${name}-${look.lang}-${look.theme}-${look.width}`;
      await step(label, async () => {
        const page = await visitor(who);
        const answer = await page.goto(path, { waitUntil: "load" });
        if (answer.status() >= 400) find(`${label}: answered ${answer.status()}`);
        const size = gzipSync(await answer.body()).length;
        if (size > HTML_MAX) find(`${label}: ${size} bytes of HTML, compressed`);
        // Caret "initial": to hide it playwright would leave an empty `style` on every field.
        await page.screenshot({ path: join(pictures, `${label}.png`), fullPage: true, caret: "initial" });
        for (const finding of [...(await barriers(page)), ...(await troubles(page))]) find(`${label}: ${finding}`);
        if (keys && look.width === 1280) {
          for (const finding of await unreached(page)) find(`${label}: ${finding}`);
        }
      });
    }
    for (const page of visitors.values()) await page.context().close();
  }
});

async function logIn(page, { userId, password }) {
  await page.goto("/login");
  await page.locator("[name=user_id]").fill(userId);
  await page.locator("[name=password]").fill(password);
  await Promise.all([page.waitForURL((url) => url.pathname !== "/login"), page.keyboard.press("Enter")]);
}
