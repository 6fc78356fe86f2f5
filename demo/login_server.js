// The local stand-in for Amazon Cognito: cognito-local with a door in front of it.
//
// cognito-local lets whoever reaches it do everything, such as putting oneself into the administrators' group. Here
// only signing in is open to everybody; its administration asks for a key, given as the AWS access key id of each
// request. The sign-in page gets a face, too, and nothing that came with the address is put into it unescaped.
//
// Three things that Cognito does and cognito-local leaves out are done here: who is disabled cannot sign in or renew a
// session, a temporary password must be replaced at the first sign-in, and AdminUserGlobalSignOut ends every session.
//
// Environment: HOST, PORT, RPACS_LOGIN_ADMIN_KEY, NODE_PATH (where cognito-local is). Data: .cognito/ in the current folder.
"use strict";

const crypto = require("node:crypto");
const http = require("node:http");
const { createDefaultServer } = require("cognito-local");
const { UserPoolServiceFactoryImpl } = require("cognito-local/lib/services/userPoolService");

const adminKey = process.env.RPACS_LOGIN_ADMIN_KEY;
if (!adminKey) {
  console.error("RPACS_LOGIN_ADMIN_KEY is not set: python -m demo starts this server with everything it needs");
  process.exit(1);
}

const LARGEST_FORM = 16 * 1024;
const SHORTEST_PASSWORD = 8;
const CHOOSING = 3 * 60 * 1000; // ms to choose a new password, as at Cognito
const FIELDS = ["client_id", "redirect_uri", "response_type", "code_challenge", "code_challenge_method", "scope", "state"];

// Warnings and errors only, one line each, and never a request's body.
const write = (level) => (first, second) => {
  const text = typeof first === "string" ? first : second || (first && (first.message || first.err?.message)) || "";
  console.error(`${new Date().toISOString()} ${level} ${text}`);
};
const quiet = () => {};
const logger = {
  level: "warn", trace: quiet, debug: quiet, info: quiet,
  warn: write("WARNING"), error: write("ERROR"), fatal: write("ERROR"),
  child: () => logger, bindings: () => ({}), levels: { values: {}, labels: {} }, isLevelEnabled: () => false,
  [Symbol.for("pino.serializers")]: {},
};

const digest = (text) => crypto.createHash("sha256").update(text).digest();

function isAdministrator(request) {
  const found = /\bCredential=([^/,\s]+)\//.exec(request.headers.authorization || "");
  return found !== null && crypto.timingSafeEqual(digest(found[1]), digest(adminKey));
}

function isPublic(method, path) {
  if (path === "/oauth2/authorize") return method === "GET" || method === "POST";
  if (path === "/oauth2/token") return method === "POST";
  if (path === "/health") return method === "GET";
  return method === "GET" && /^\/[A-Za-z0-9_-]+\/\.well-known\/jwks\.json$/.test(path);
}

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

// ---- what cognito-local knows of users

const pools = new Map();
const create = UserPoolServiceFactoryImpl.prototype.create;
UserPoolServiceFactoryImpl.prototype.create = async function (...words) {
  const pool = await create.apply(this, words);
  pools.set(pool.options.Id, pool);
  const byRefreshToken = pool.getUserByRefreshToken.bind(pool);
  pool.getUserByRefreshToken = async (...more) => {
    const user = await byRefreshToken(...more);
    return user && user.Enabled === false ? null : user;
  };
  return pool;
};

async function find(username) {
  for (const pool of pools.values()) {
    const user = await pool.getUserByUsername({ logger }, username);
    if (user) return { pool, user };
  }
  return null;
}

const same = (one, other) => crypto.timingSafeEqual(digest(String(one ?? "")), digest(String(other ?? "")));

async function signOutEverywhere(request, response) {
  let asked;
  try {
    asked = JSON.parse(await read(request));
  } catch {
    return refuse(response, 400, "the request cannot be read");
  }
  const pool = pools.get(asked.UserPoolId);
  const user = pool && (await pool.getUserByUsername({ logger }, asked.Username));
  response.setHeader("content-type", "application/x-amz-json-1.1");
  response.statusCode = user ? 200 : 400;
  if (user) await pool.saveUser({ logger }, { ...user, RefreshTokens: [] });
  return response.end(JSON.stringify(user ? {} : { __type: "UserNotFoundException", message: "User does not exist." }));
}

// ---- pages

// Who typed a temporary password, by the secret number of the page on which a new one is chosen.
const choosing = new Map();

// What stands in the way of a sign-in that cognito-local would let pass: a page instead, or null.
async function inTheWay(fields) {
  for (const [number, one] of choosing) if (one.until < Date.now()) choosing.delete(number);
  const choice = fields.get("choice");
  if (choice !== null) {
    const begun = choosing.get(choice);
    if (!begun) return page(fields, "That took too long. Please sign in again.", fields.get("username") ?? "");
    const password = fields.get("new_password") ?? "";
    const known = await find(begun.username);
    if (!known || known.user.Enabled === false) return page(fields, "This account is disabled.", "");
    if (password !== (fields.get("repeated") ?? "")) return choicePage(fields, choice, "The two are not the same.");
    if (password.length < SHORTEST_PASSWORD || password.length > 256)
      return choicePage(fields, choice, `Use at least ${SHORTEST_PASSWORD} characters.`);
    if (same(password, known.user.Password)) return choicePage(fields, choice, "This is the temporary one.");
    choosing.delete(choice);
    await known.pool.saveUser({ logger }, { ...known.user, Password: password, UserStatus: "CONFIRMED" });
    fields.set("username", begun.username);
    fields.set("password", password);
    return null;
  }
  const known = await find(fields.get("username") ?? "");
  if (!known || !same(known.user.Password, fields.get("password"))) return null; // refused by cognito-local itself
  if (known.user.Enabled === false) return page(fields, "This account is disabled. Ask your administrators.", "");
  if (known.user.UserStatus !== "FORCE_CHANGE_PASSWORD") return null;
  const number = crypto.randomBytes(24).toString("base64url");
  choosing.set(number, { username: known.user.Username, until: Date.now() + CHOOSING });
  return choicePage(fields, number, "");
}

const hidden = (fields) =>
  FIELDS.map((name) => `<input type="hidden" name="${name}" value="${escape(fields.get(name) ?? "")}">`).join("\n");

const page = (fields, error, username) =>
  frame(
    "Sign in to continue.",
    error,
    `${hidden(fields)}
<label for="username">User name</label>
<input id="username" name="username" type="text" value="${escape(username)}" autocomplete="username"
  autocapitalize="none" spellcheck="false" required${username ? "" : " autofocus"}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required${username ? " autofocus" : ""}>
<button type="submit">Sign in</button>`,
  );

const choicePage = (fields, number, error) =>
  frame(
    "Your password was a temporary one. Choose a new one, which only you know.",
    error,
    `${hidden(fields)}
<input type="hidden" name="choice" value="${escape(number)}">
<label for="new_password">New password</label>
<input id="new_password" name="new_password" type="password" autocomplete="new-password" minlength="${SHORTEST_PASSWORD}"
  required autofocus>
<label for="repeated">New password once more</label>
<input id="repeated" name="repeated" type="password" autocomplete="new-password" required>
<button type="submit">Change the password</button>`,
  );

function frame(lead, error, form) {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Research PACS</title>
<style>
:root { color-scheme: light dark; --bg: #f4f6f8; --surface: #fff; --line: #d5dce2; --edge: #75838f; --text: #17212b;
  --muted: #52606d; --accent: #0b6b74; --hover: #08525a; --on: #fff; --danger: #a4262c; --pink: #fbeaea; --tint: #e3f1f2 }
@media (prefers-color-scheme: dark) { :root { --bg: #10161b; --surface: #182128; --line: #2e3b45; --edge: #8496a3;
  --text: #e6ecf0; --muted: #9fb0bd; --accent: #5cc3cd; --hover: #83d6de; --on: #06282c; --danger: #ff9a9e;
  --pink: #3a1f22; --tint: #16343a } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--bg);
  color: var(--text); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
main { width: 100%; max-width: 25rem; padding: 2.25rem 2rem; background: var(--surface); border: 1px solid var(--line);
  border-radius: 12px; box-shadow: 0 1px 2px rgb(16 32 48 / 8%), 0 4px 16px rgb(16 32 48 / 6%) }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.25; font-weight: 650 }
p { margin: 0 0 1.5rem; color: var(--muted) }
label { display: block; margin-bottom: .35rem; font-weight: 600 }
input[type=text], input[type=password] { width: 100%; margin-bottom: 1.1rem; padding: .65rem .75rem; font: inherit;
  color: inherit; background: var(--surface); border: 1px solid var(--edge); border-radius: 8px }
button { width: 100%; margin-top: .35rem; padding: .7rem; font: inherit; font-weight: 600; color: var(--on);
  background: var(--accent); border: 0; border-radius: 8px; cursor: pointer }
button:hover { background: var(--hover) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.error { padding: .65rem .85rem; color: var(--danger); background: var(--pink); border-radius: 8px }
.note { margin: 1.75rem 0 0; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: .875rem }
code { padding: .1em .35em; background: var(--tint); border-radius: 4px }
</style>
</head>
<body>
<main>
<h1>Research PACS</h1>
<p>${lead}</p>
${error ? `<p class="error" role="alert">${escape(error)}</p>` : ""}
<form method="post" action="/oauth2/authorize">
${form}
</form>
<p class="note">This page stands in for Amazon Cognito on this machine. <code>make demo</code> printed the demo logins,
and <code>make status</code> prints them again.</p>
</main>
</body>
</html>
`;
}

// cognito-local's own page puts what came with the address into HTML as it is: it never leaves this server.
function dress(response, fields, username) {
  const end = response.end.bind(response);
  response.end = (body, ...rest) => {
    if (!String(response.getHeader("content-type") || "").startsWith("text/html")) return end(body, ...rest);
    if (response.statusCode >= 300 && response.statusCode < 400) return end(body, ...rest);
    const wrong = String(body).includes("Incorrect username or password.");
    const html = page(fields, wrong ? "This user name and password do not go together." : "", username);
    response.removeHeader("etag");
    response.setHeader("content-length", Buffer.byteLength(html));
    return end(html);
  };
}

function read(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let size = 0;
    request.on("data", (chunk) => {
      size += chunk.length;
      if (size > LARGEST_FORM) reject(new Error("too large"));
      else chunks.push(chunk);
    });
    request.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    request.on("error", reject);
  });
}

function refuse(response, status, message) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ __type: status === 403 ? "AccessDeniedException" : "InvalidRequest", message }));
}

async function handle(application, request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  response.setHeader("cache-control", "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("referrer-policy", "no-referrer");
  response.setHeader("content-security-policy",
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'");
  // cognito-local would let scripts of any web site read its answers.
  const setHeader = response.setHeader.bind(response);
  response.setHeader = (name, value) => (/^access-control-/i.test(name) ? response : setHeader(name, value));
  if (!isPublic(request.method, pathname)) {
    if (!isAdministrator(request)) return refuse(response, 403, "this needs the administration's key");
    if (String(request.headers["x-amz-target"]).endsWith(".AdminUserGlobalSignOut")) return signOutEverywhere(request, response);
  } else if (pathname === "/oauth2/authorize") {
    let fields = searchParams;
    if (request.method === "POST") {
      try {
        fields = new URLSearchParams(await read(request));
      } catch {
        return refuse(response, 400, "the form cannot be read");
      }
      const instead = await inTheWay(fields);
      if (instead !== null) {
        response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": Buffer.byteLength(instead) });
        return response.end(instead);
      }
      // The stream is spent: the parser behind us leaves a body that is there already alone.
      request.body = Object.fromEntries(fields);
    }
    dress(response, fields, fields.get("username") ?? "");
  }
  return application(request, response);
}

async function main() {
  const { application } = await createDefaultServer(logger);
  const server = http.createServer((request, response) => {
    handle(application, request, response).catch((error) => {
      logger.error(error);
      if (!response.headersSent) refuse(response, 500, "internal error");
    });
  });
  server.listen(Number(process.env.PORT), process.env.HOST || "127.0.0.1", () => {
    console.error(`${new Date().toISOString()} INFO ready on ${process.env.HOST || "127.0.0.1"}:${process.env.PORT}`);
  });
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
      server.close(() => process.exit(0));
      server.closeAllConnections();
    });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
