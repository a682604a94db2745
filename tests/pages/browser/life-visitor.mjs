// A visitor without an account: what is on air, its address, today's list, the guide, the price; the other language, the other light.
//
// The scene: `looks` (lang, width, hand, script), `onAir`, `silent` and `later` (title, number, url).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { hands } from "./hands.mjs";
import { play } from "./lib.mjs";
import { words } from "./words.mjs";

await play(async ({ scene, step, open }) => {
  for (const look of scene.looks) {
    const page = await open(look);
    const label = Object.values(look).join(" ");
    await visit(page, look, scene, (name, act) => step(`${label}: ${name}`, act));
    await page.context().close();
  }
});

async function visit(page, { lang, hand, script }, { onAir, silent, later }, step) {
  const t = words(lang);
  const { press, fill, go, sees } = hands(page, hand);
  const link = (name, root = page) => root.getByRole("link", { name, exact: true }).filter({ visible: true }).first();
  const button = (name) => page.getByRole("button", { name, exact: true });
  const heading = (name) => page.getByRole("heading", { name, exact: true }).first();
  const menu = page.getByRole("navigation", { name: t("navigation") });
  const saved = async (what) => {
    const [download] = await Promise.all([page.waitForEvent("download"), press(what)]);
    return readFileSync(await download.path(), "utf8");
  };

  await step("the top page shows what is on air", async () => {
    await page.goto("/");
    await sees(heading(t("hero")));
    const card = page.getByRole("article").filter({ hasText: onAir.title });
    await sees(card.getByText(t("door-open"), { exact: true }));
    await sees(card.getByText(t("seats-of", { taken: 0, all: 5 })));
    await go(link(onAir.title, card), /^\/programs\/\d+$/);
  });

  await step("the program's page gives the address", async () => {
    await sees(heading(onAir.title));
    const address = page.getByLabel(t("address"), { exact: true });
    assert.equal(await address.inputValue(), onAir.url);
    if (script) {
      await press(button(t("copy")));
      await sees(button(t("copied")));
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), onAir.url);
    } else {
      assert.equal(await page.getByRole("button", { name: t("copy") }).count(), 0);
    }
    assert.ok((await saved(link(t("open-in-player")))).split("\n").includes(onAir.url));
    const calendar = await saved(link(t("add-to-calendar")));
    assert.ok(calendar.includes("BEGIN:VEVENT") && calendar.includes(`SUMMARY:${onAir.title}`), calendar);
  });

  await step("today's live is filtered by words and by genre", async () => {
    await go(link(t("nav-today"), menu), /^\/today$/);
    await sees(link(onAir.title));
    await sees(link(silent.title));
    await fill(page.getByLabel(t("search"), { exact: true }), silent.title.toUpperCase());
    await go(button(t("filter")), /[?&]text=\w/);
    await sees(link(silent.title));
    assert.equal(await link(onAir.title).count(), 0);
    await fill(page.getByLabel(t("search"), { exact: true }), "nobody broadcasts this");
    await go(button(t("filter")), /[?&]text=nobody/);
    await sees(page.getByRole("main").getByText(t("nothing-found"), { exact: true }));
    await go(link(t("no-filter")), /^\/today$/);
    await page.getByLabel(t("genre"), { exact: true }).selectOption(onAir.genre);
    await go(button(t("filter")), /[?&]genre=\w/);
    await sees(link(onAir.title));
    assert.equal(await link(silent.title).count(), 0);
  });

  await step("a number that a friend told opens a program that comes", async () => {
    const number = later.number.replaceAll(/(.{4})(?=.)/g, "$1 ");
    await fill(page.getByLabel(t("by-number"), { exact: true }), number);
    await go(button(t("open")), new RegExp(`^/programs/${later.number}$`));
    await sees(heading(later.title));
    await sees(page.getByText(t("door-before"), { exact: true }));
    await sees(page.getByText(t("needs-password"), { exact: true }));
    await sees(page.getByText(t("watch-password")));
    if (script) await sees(page.getByText(/^\d\d:\d\d:\d\d$/));
  });

  await step("the guide leads to the day and to the program", async () => {
    await go(link(t("nav-guide"), menu), /^\/guide/);
    await go(page.locator("a[aria-current=date]"), /^\/guide\/\d{4}-\d\d-\d\d$/);
    const day = new URL(page.url()).pathname;
    await sees(link(onAir.title));
    await go(link(t("day-after")), notAt(day));
    await go(link(t("day-before")), at(day));
    await go(link(silent.title), at(`/programs/${silent.number}`));
    await sees(page.getByText(t("door-silent"), { exact: true }));
  });

  await step("what it costs, and the way to register", async () => {
    await go(link(t("nav-about"), menu), at("/about"));
    assert.equal(await page.getByRole("table").getByRole("row").count(), 4);
    await go(link(t("register-to-broadcast")), /^\/register\?kind=premium$/);
    await sees(heading(t("register")));
  });

  await step("an address that leads nowhere says what to do", async () => {
    const answer = await page.goto("/programs/1111111111111111");
    assert.equal(answer.status(), 404);
    await go(link(t("nav-today"), page.getByRole("main")), at("/today"));
  });

  await step("the other language and the other light stay chosen", async () => {
    const other = lang === "en" ? "ja" : "en";
    await press(button(other === "ja" ? "日本語" : "English"));
    await sees(page.locator(`html[lang=${other}]`));
    const theirs = words(other);
    const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await press(button(theirs("theme-dark")));
    await sees(page.locator("html[data-theme=dark]"));
    await go(link(theirs("nav-about")), at("/about"));
    await sees(page.locator(`html[lang=${other}][data-theme=dark]`));
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.notEqual(dark, light);
  });
}

/** Exactly this path. */
function at(path) {
  return { test: (address) => address === path };
}

/** Another day of the guide than this one. */
function notAt(day) {
  return { test: (address) => /^\/guide\/\d{4}-\d\d-\d\d$/.test(address) && address !== day };
}
