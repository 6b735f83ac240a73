/**
 * Signs the reader in. On a machine's own system one click on a user is enough; a deployed console uses Firebase Auth
 * through the scripts that Firebase Hosting serves itself.
 */

import { connect, get } from "./api.js";
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

/** Hosting serves version 8 and no later one: https://firebase.google.com/docs/hosting/reserved-urls */
const SDK = "/__/firebase/8.10.1";

async function signInWithFirebase(main) {
  const response = await fetch("/__/firebase/init.json").catch(() => null);
  if (!response?.ok) {
    fill(main, h("section", { class: "sign-in" },
      h("h1", {}, "LLM Runs"),
      h("p", {}, "This server offers no way to sign in. A deployed console needs Firebase Hosting and Firebase Auth.")));
    return await new Promise(() => {});
  }
  for (const name of ["firebase-app.js", "firebase-auth.js"]) await script(`${SDK}/${name}`);
  await script("/__/firebase/init.js");
  const service = globalThis.firebase.auth();
  const user = (await firstUser(service)) ?? (await new Promise((resolve) => fill(main, firebaseForm(service, resolve))));
  const config = await connect(() => user.getIdToken());
  const profile = await get("/api/auth/profile/");
  return {
    id: profile.user_id,
    groups: profile.groups,
    firestore: config.listener ? await firestoreOf() : null,
    signOut: () => service.signOut().then(() => location.assign("/")),
  };
}

/** The listener's script is as large as all else together, so only a console that uses it loads it. */
async function firestoreOf() {
  await script(`${SDK}/firebase-firestore.js`);
  return globalThis.firebase.firestore();
}

function firebaseForm(service, resolve) {
  const error = h("p", { class: "error", role: "alert" });
  const start = async () => {
    error.textContent = "";
    try {
      resolve((await service.signInWithPopup(new globalThis.firebase.auth.GoogleAuthProvider())).user);
    } catch (problem) {
      error.textContent = `You are not signed in: ${problem.message}`;
    }
  };
  return h("section", { class: "sign-in" },
    h("h1", {}, "LLM Runs"), h("button", { class: "primary", onclick: start }, "Sign in with Google"), error);
}

/** Resolves to the user whom Firebase remembers in this browser, or null. */
function firstUser(service) {
  return new Promise((resolve) => {
    const stop = service.onAuthStateChanged((user) => (resolve(user), queueMicrotask(() => stop())));
  });
}

function script(src) {
  return new Promise((resolve, reject) => {
    document.head.append(h("script", { src, onload: resolve, onerror: () => reject(new Error(`${src} cannot be loaded.`)) }));
  });
}
