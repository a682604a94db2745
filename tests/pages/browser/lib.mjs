// What all scripts share: one browser, pages that are watched, steps that say where a script stopped.
//
// A script is `await play(async ({ browser, scene, step, open }) => { … })`. It fails by throwing, or by what `find` was told.

import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const tools = process.env.SLOTCAST_BROWSER;
const require = createRequire(join(tools, "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

export const pictures = process.env.PICTURES;

/** After so many milliseconds nothing comes any more: it ends a script that hangs, and judges nothing. */
const PATIENCE = 45_000;

/** Chromium, as a visitor has it: no switch changes what a page may do. `--no-sandbox` is for tests that run as root. */
function launch() {
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
}

/**
 * Runs one script, and ends the process with 1 if it threw or found something.
 *
 * `open(options)` gives a page of its own visitor: `lang` ("en", "ja"), `theme` ("light", "dark"), `width`, `script` (false:
 * without script), `address` (as a trusted proxy tells it: who comes from one address may try so often). What a page must not do is found by itself: an error in the console, a request to another host, something
 * that the policy forbids.
 */
export async function play(script) {
  const scene = JSON.parse(process.env.SCENE);
  const findings = [];
  const pages = [];
  let doing = "the start";
  const browser = await launch();
  const find = (what) => {
    findings.push(what);
    console.log(`FOUND ${what}`);
  };
  const step = async (name, act) => {
    doing = name;
    console.log(`- ${name}`);
    return await act();
  };
  const open = async ({ lang = "en", theme = "light", width = 1280, script = true, address } = {}) => {
    const context = await browser.newContext({
      baseURL: scene.base,
      locale: lang === "ja" ? "ja-JP" : "en-GB",
      colorScheme: theme,
      viewport: { width, height: width < 600 ? 740 : 900 },
      javaScriptEnabled: script,
      hasTouch: width < 600,
      extraHTTPHeaders: address ? { "X-Forwarded-For": address } : {},
    });
    context.setDefaultTimeout(PATIENCE);
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: scene.base });
    const page = await context.newPage();
    watch(page, scene.base, find);
    pages.push(page);
    return page;
  };
  let failed = false;
  try {
    await script({ browser, scene, step, open, find });
  } catch (error) {
    failed = true;
    console.log(`FAILED at ${doing}: ${error.stack ?? error}`);
    await keep(pages, doing);
  } finally {
    await browser.close();
  }
  process.exit(failed || findings.length > 0 ? 1 : 0);
}

/** Pictures of all pages as they are, for whoever reads the failure. */
async function keep(pages, doing) {
  const folder = join(pictures, "failures");
  mkdirSync(folder, { recursive: true });
  for (const [index, page] of pages.entries()) {
    if (page.isClosed()) continue;
    const path = join(folder, `${doing.replaceAll(/[^a-z0-9]+/gi, "-")}-${index}.png`);
    await page.screenshot({ path, fullPage: true }).catch(() => {});
    console.log(`page ${index} was at ${page.url()}: ${path}`);
  }
}

/** Finds what no page may do. A refusal (4xx) that a script provokes is no error of the page: Chromium's line of it is left out. */
function watch(page, base, find) {
  const at = () => page.url().replace(base, "");
  page.on("console", (message) => {
    const refused = message.text().startsWith("Failed to load resource: the server responded with a status of 4");
    if (message.type() === "error" && !refused) find(`${at()}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => find(`${at()}: ${error}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${base}/`) && !url.startsWith("data:") && !url.startsWith("blob:")) {
      find(`${at()}: asks another host: ${url}`);
    }
  });
  page.on("response", (response) => {
    if (response.status() >= 500) find(`${response.url()}: answered ${response.status()}`);
  });
}

/** What axe-core finds on a page, as one line each. */
export async function barriers(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.slice(0, 5).map(({ html, failureSummary }) => `${id}: ${help}: ${html.slice(0, 200)}: ${failureSummary?.split("\n")[1]?.trim()}`),
  );
}

/** What of a page cannot be had by eye, hand or keyboard, beyond what axe-core sees. */
export async function troubles(page) {
  return await page.evaluate(() => {
    const found = [];
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    if (wide > 0) found.push(`the page is ${wide} pixels wider than the window`);
    const name = (element) => element.outerHTML.slice(0, 120);
    for (const element of document.querySelectorAll("button, select, input:not([type=hidden], [type=checkbox], [type=radio])")) {
      const box = element.getBoundingClientRect();
      if (box.width > 0 && box.height > 0 && box.height < 43.5) {
        found.push(`${Math.round(box.height)} pixels high, less than 44: ${name(element)}`);
      }
    }
    for (const element of document.querySelectorAll("[style], script:not([src])")) {
      if (!["application/json", "application/ld+json"].includes(element.type)) found.push(`inline style or script: ${name(element)}`);
    }
    if (!document.documentElement.lang) found.push("the page has no language");
    return found;
  });
}

/** Goes through a page by the Tab key; what can be focused and is never reached is told. Groups of radio buttons count once. */
export async function unreached(page, most = 150) {
  const mark = () => {
    const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled && element.tabIndex >= 0;
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(seen);
    globalThis.wanted = new Set(all.filter((element) => element.type !== "hidden" && element.type !== "radio"));
    document.activeElement?.blur();
    return globalThis.wanted.size;
  };
  const count = await page.evaluate(mark);
  const unseen = [];
  for (let pressed = 0; pressed < Math.min(count, most) + 20; pressed += 1) {
    await page.keyboard.press("Tab");
    const shown = await page.evaluate(() => {
      const element = document.activeElement;
      globalThis.wanted.delete(element);
      if (element === document.body) return null;
      const style = getComputedStyle(element);
      const isShown = style.outlineStyle !== "none" || style.boxShadow !== "none";
      return isShown ? null : element.outerHTML.slice(0, 120);
    });
    if (shown) unseen.push(`its focus cannot be seen: ${shown}`);
  }
  if (count > most) return unseen;
  const left = await page.evaluate(() => [...globalThis.wanted].map((element) => element.outerHTML.slice(0, 120)));
  return [...new Set(unseen), ...left.map((element) => `the Tab key does not reach ${element}`)];
}
