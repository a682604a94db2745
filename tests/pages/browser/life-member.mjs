// Becoming a member: a form with mistakes, the code from the mail, logging in and out, a forgotten password.
//
// The scene: `looks` (lang, width, hand, script), `mail` (the folder of mails).

import assert from "node:assert/strict";
import { hands } from "./hands.mjs";
import { codeOf, letter, linkOf } from "./letters.mjs";
import { play } from "./lib.mjs";
import { words } from "./words.mjs";

const FIRST_PASSWORD = "seven quiet rivers";
const NEXT_PASSWORD = "eight loud rivers";

await play(async ({ scene, step, open }) => {
  for (const [index, look] of scene.looks.entries()) {
    const page = await open({ ...look, address: `198.51.100.${index + 1}` });
    const label = Object.values(look).join(" ");
    const person = { name: `Hanako ${index}`, userId: `hanako${index}`, email: `hanako${index}@example.com` };
    await join(page, look, person, scene.mail, (name, act) => step(`${label}: ${name}`, act));
    await page.context().close();
  }
});

async function join(page, { lang, width, hand }, person, mail, step) {
  const t = words(lang);
  const { press, fill, go, sees } = hands(page, hand);
  const banner = page.getByRole("banner");
  const main = page.getByRole("main");
  const link = (name, root = main) => root.getByRole("link", { name, exact: true });
  const button = (name, root = main) => root.getByRole("button", { name, exact: true });
  const heading = (name) => main.getByRole("heading", { name, exact: true });
  // The label of a field, with or without the word that says that it may stay empty.
  const field = (key) => main.getByLabel(new RegExp(`^${escaped(t(key))}(\\s+${escaped(t("optional"))})?$`));
  const type = async (texts) => {
    for (const [key, text] of Object.entries(texts)) await fill(field(key), text);
  };
  const logIn = async (password) => {
    await type({ "user-id": person.userId, password });
    await press(button(t("log-in")));
  };

  await step("all mistakes of a form are named at once, and nothing typed is lost", async () => {
    await page.goto("/");
    await go(link(t("register"), banner), at("/register"));
    await go(main.getByRole("link", { name: t("premium") }), at("/register?kind=premium"));
    await type({ name: person.name, email: "nowhere", postal: "1-1 Chiyoda, Tokyo", "user-id": person.userId });
    await type({ password: "short", "password-again": "short" });
    await press(button(t("register-now")));
    const alert = main.getByRole("alert");
    await sees(alert);
    const named = await alert.getByRole("link").allTextContents();
    const wrong = await main.locator("[aria-invalid=true]").evaluateAll((fields) => fields.map(({ name }) => name));
    assert.equal(named.length, wrong.length, `${named} beside ${wrong}`);
    for (const name of ["reading", "email", "premium.phone", "password"]) assert.ok(wrong.includes(name), `${name} not in ${wrong}`);
    const kept = { name: person.name, email: "nowhere", postal: "1-1 Chiyoda, Tokyo", "user-id": person.userId, password: "" };
    for (const [key, text] of Object.entries(kept)) assert.equal(await field(key).inputValue(), text, key);
    const first = alert.getByRole("link").first();
    const led = (await first.getAttribute("href")).slice(1);
    await press(first);
    await page.waitForURL((url) => url.hash === `#${led}`);
    await sees(main.locator(`[name="${led}"][aria-invalid=true]`));
  });

  await step("the form put right makes a member", async () => {
    await type({ reading: "Hanako", email: person.email, phone: "+81 3 1234 5678" });
    await type({ password: FIRST_PASSWORD, "password-again": FIRST_PASSWORD });
    await go(button(t("register-now")), at("/register/done"));
    await sees(heading(t("welcome")));
    await sees(main.getByText(person.userId, { exact: true }));
    await sees(main.getByText(person.email, { exact: true }));
    await sees(banner.getByText(person.name, { exact: true }));
  });

  await step("the code of the mail verifies the address, another one does not", async () => {
    await go(link(t("enter-code")), at("/verify"));
    await type({ code: "aaaaa-bbbbb-ccccc-ddddd-eeeeee" });
    await press(button(t("verify-now")));
    await sees(main.getByRole("alert").or(main.locator("[aria-invalid=true]")).first());
    const text = await letter(mail, "verify-email", person.email);
    // On a phone one follows the link of the mail, which fills the code in; elsewhere one types it.
    if (width < 600) {
      await page.goto(linkOf(text));
      assert.equal(await field("code").inputValue(), codeOf(text));
    } else {
      await type({ code: codeOf(text).toUpperCase() });
    }
    await go(button(t("verify-now")), at("/verify?done"));
    await sees(heading(t("verified")));
  });

  await step("a page for members leads to the log-in and back", async () => {
    await go(button(t("log-out"), banner), at("/"));
    await sees(link(t("log-in"), banner));
    await page.goto("/register/done");
    await sees(main.getByText(t("log-in-first")));
    await logIn("a wrong password");
    await sees(main.getByRole("alert"));
    assert.equal(await field("user-id").inputValue(), person.userId);
    await logIn(FIRST_PASSWORD);
    await page.waitForURL((url) => url.pathname === "/register/done");
    await sees(banner.getByText(person.name, { exact: true }));
  });

  await step("a forgotten password is set anew by the code of a mail", async () => {
    await go(button(t("log-out"), banner), at("/"));
    await go(link(t("log-in"), banner), at("/login"));
    await go(link(t("forgot")), at("/password"));
    await type({ who: person.email });
    await go(button(t("mail-code")), at("/password?sent"));
    await sees(main.getByText(t("forgot-sent")));
    const code = codeOf(await letter(mail, "new-password", person.email));
    await type({ code, "new-password": "short" });
    await press(button(t("set-password")));
    await sees(main.locator("[aria-invalid=true]").first());
    assert.equal(await field("code").inputValue(), code);
    await type({ "new-password": NEXT_PASSWORD });
    await go(button(t("set-password")), at("/password?done"));
    await go(link(t("log-in")), at("/login"));
    await logIn(FIRST_PASSWORD);
    await sees(main.getByRole("alert"));
    await logIn(NEXT_PASSWORD);
    await sees(banner.getByText(person.name, { exact: true }));
  });
}

/** Exactly this path and query. */
function at(address) {
  return { test: (found) => found === address };
}

/** A text for a regular expression. */
function escaped(text) {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
