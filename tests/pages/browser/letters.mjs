// Mails that arrived, read as a mail program reads them.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pass } from "node:timers/promises";

const TRIES = 300;

/** The text of the mail of that kind ("verify-email") to `address`, once it is there; the folder may be a Maildir. */
export async function letter(folder, kind, address) {
  for (let tries = 0; tries < TRIES; tries += 1) {
    for (const name of arrived(folder)) {
      const mail = readFileSync(join(folder, name), "utf8").replaceAll("\r\n", "\n");
      if (mail.includes(`\nMessage-ID: <${kind}-`) && mail.includes(address)) return textOf(mail);
    }
    await pass(100); // between two looks at the folder
  }
  throw new Error(`no mail ${kind} came to ${address}: ${arrived(folder)}`);
}

/** Mails that are whole: a Maildir has them in `new`, the server's own folder as `.eml`. */
function arrived(folder) {
  const names = readdirSync(folder, { recursive: true });
  return names.filter((name) => name.startsWith("new/") || /^[^.].*\.eml$/.test(name));
}

/** The code in a mail: a line of its own that is no link. */
export function codeOf(text) {
  const [, code] = /^ +([0-9a-zA-Z]+(?:-[0-9a-zA-Z]+)+)\s*$/m.exec(text) ?? [];
  if (!code) throw new Error(`no code in\n${text}`);
  return code;
}

/** The link in a mail: a line of its own. */
export function linkOf(text) {
  const [, link] = /^ +(https?:\S+)\s*$/m.exec(text) ?? [];
  if (!link) throw new Error(`no link in\n${text}`);
  return link;
}

/** The first text of a mail, decoded. */
function textOf(mail) {
  const [head, ...rest] = mail.split("\n\n");
  const boundary = /boundary="?([^";\n]+)/i.exec(head)?.[1];
  if (boundary) return textOf(rest.join("\n\n").split(`--${boundary}`)[1].trimStart());
  const body = rest.join("\n\n");
  const encoding = /^content-transfer-encoding: *(\S+)/im.exec(head)?.[1]?.toLowerCase();
  if (encoding === "base64") return Buffer.from(body, "base64").toString("utf8");
  if (encoding !== "quoted-printable") return body;
  const bytes = body.replaceAll("=\n", "").replaceAll(/=([0-9A-F]{2})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
  return Buffer.from(bytes, "latin1").toString("utf8");
}
