// What a person does on a page, with a mouse (or a finger) or by the keyboard alone.

/** Presses of Tab after which nothing new comes on any page. */
const TABS_MAX = 150;

/**
 * The hands of a visitor: `way` is "mouse" or "keys".
 *
 * - `press(what)`: a link, a button or a box.
 * - `fill(field, text)`: replaces what a field holds.
 * - `go(what, path)`: presses, and waits until the page at `path` is there: something whose `test` takes path and query.
 * - `sees(what)`: waits until it is there to be seen; fails if it does not come.
 */
export function hands(page, way) {
  const keys = way === "keys";

  const reach = async (what) => {
    await what.waitFor();
    for (let pressed = 0; pressed <= TABS_MAX; pressed += 1) {
      if (await what.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`the Tab key does not reach ${what}`);
  };
  const press = async (what) => {
    if (!keys) return await what.click();
    await reach(what);
    const box = await what.evaluate((element) => element.matches("input[type=checkbox], input[type=radio]"));
    await page.keyboard.press(box ? "Space" : "Enter");
  };
  const fill = async (field, text) => {
    if (!keys) return await field.fill(text);
    await reach(field);
    await page.keyboard.press("Control+A");
    await page.keyboard.press("Delete");
    await page.keyboard.type(text);
  };
  const go = async (what, path) => {
    await press(what);
    await page.waitForURL((url) => path.test(url.pathname + url.search));
  };
  const sees = async (what) => await what.waitFor({ state: "visible" });
  return { press, fill, go, sees };
}
