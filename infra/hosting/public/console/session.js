/**
 * Signs the reader in. On a machine's own system one click on a user is enough; a deployed console uses Firebase Auth
 * through the scripts that Firebase Hosting serves itself.
 */

import { connect } from "./api.js";
import { fill, h } from "./dom.js";

const KEPT = "llm-runs-user";

/** Returns {id, groups, signOut} once somebody is signed in; shows how to until then. */
export async function signIn(main) {
  const users = await localUsers();
  return users ? await signInLocally(main, users) : await signInWithFirebase(main);
}

async function localUsers() {
  const response = await fetch("/local/users").catch(() => null);
  return response?.ok && response.headers.get("content-type")?.includes("json") ? (await response.json()).users : null;
}

async function signInLocally(main, users) {
  const kept = users.find((user) => user.id === sessionStorage.getItem(KEPT));
  const user = kept ?? (await new Promise((resolve) => fill(main, localForm(users, resolve))));
  sessionStorage.setItem(KEPT, user.id);
  let current = null;
  await connect(async () => {
    if (!current || current.until < Date.now()) {
      const response = await fetch(`/local/token?user=${encodeURIComponent(user.id)}`, { method: "POST" });
      current = { ...(await response.json()), until: Date.now() + 10 * 60 * 1000 };
    }
    return current.token;
  });
  return { ...user, signOut: () => (sessionStorage.removeItem(KEPT), location.assign("/")) };
}

function localForm(users, choose) {
  const buttons = users.map((user) =>
    h("button", { class: "user", onclick: () => choose(user) },
      h("strong", {}, user.id),
      h("span", {}, `${user.organization_id}${user.groups.length ? `, ${user.groups.join(", ")}` : ""}`)));
  return h("section", { class: "sign-in" },
    h("h1", {}, "LLM Runs"),
    h("p", {}, "This system runs on one machine. Choose who you are:"),
    h("div", { class: "users" }, buttons));
}

async function signInWithFirebase(main) {
  const response = await fetch("/__/firebase/init.json").catch(() => null);
  if (!response?.ok) {
    fill(main, h("section", { class: "sign-in" },
      h("h1", {}, "LLM Runs"),
      h("p", {}, "This server offers no way to sign in. A deployed console needs Firebase Hosting and Firebase Auth.")));
    return await new Promise(() => {});
  }
  const version = "11.0.2";
  const { initializeApp } = await import(`/__/firebase/${version}/firebase-app.js`);
  const auth = await import(`/__/firebase/${version}/firebase-auth.js`);
  const service = auth.getAuth(initializeApp(await response.json()));
  await service.authStateReady();
  if (!service.currentUser) {
    await new Promise((resolve) => {
      const start = () => auth.signInWithPopup(service, new auth.GoogleAuthProvider()).then(resolve, () => {});
      fill(main, h("section", { class: "sign-in" },
        h("h1", {}, "LLM Runs"),
        h("button", { class: "primary", onclick: start }, "Sign in with Google")));
    });
  }
  const user = service.currentUser;
  await connect(() => user.getIdToken());
  const groups = (await user.getIdTokenResult()).claims.groups ?? [];
  return { id: user.uid, groups, signOut: () => service.signOut().then(() => location.assign("/")) };
}
