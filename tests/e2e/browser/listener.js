// A browser client of the runs: does what the test asks (tests/e2e/firebase_page.py), with the Firebase SDK and nothing else.
import { deleteApp, initializeApp } from "firebase/app";
import {
  collection,
  collectionGroup,
  connectFirestoreEmulator,
  deleteDoc,
  doc,
  getCountFromServer,
  getFirestore,
  limit,
  onSnapshot,
  orderBy,
  query,
  setDoc,
  updateDoc,
  where,
} from "firebase/firestore";

const followings = new Map();
let places;
let clients = 0;

// Each client has a cache of its own: what one was given, another must ask the server for.
function clientOf(user) {
  clients += 1;
  const db = getFirestore(initializeApp({ projectId: places.project }, `client-${clients}`));
  const [host, port] = places.firestore.split(":");
  connectFirestoreEmulator(db, host, Number(port), user ? { mockUserToken: { sub: user, user_id: user } } : {});
  return db;
}

async function withClientOf(user, use) {
  const db = clientOf(user);
  try {
    return await use(db);
  } finally {
    await deleteApp(db.app);
  }
}

function target(db, wanted) {
  if (wanted.document) {
    return doc(db, wanted.document);
  }
  const from = wanted.group ? collectionGroup(db, wanted.group) : collection(db, wanted.collection);
  const constraints = [
    wanted.where && where(...wanted.where),
    wanted.orderBy && orderBy(...wanted.orderBy),
    wanted.limit && limit(wanted.limit),
  ];
  return query(from, ...constraints.filter(Boolean));
}

function firstFromServer(listened) {
  return new Promise((resolve, reject) => {
    const take = (snapshot) => snapshot.metadata.fromCache || resolve(snapshot);
    onSnapshot(listened, { includeMetadataChanges: true }, take, reject);
  });
}

function changedIn(snapshot) {
  const changes = snapshot.docChanges?.() ?? [{ type: "modified", doc: snapshot }];
  return changes.filter(({ type }) => type !== "removed").map((change) => change.doc);
}

const actions = {
  // The ids of what a listener is given first.
  read: ({ user, ...wanted }) =>
    withClientOf(user, async (db) => {
      const snapshot = await firstFromServer(target(db, wanted));
      return (snapshot.docs ?? [snapshot]).map((found) => found.id);
    }),

  count: ({ user, ...wanted }) =>
    withClientOf(user, async (db) => (await getCountFromServer(target(db, wanted))).data().count),

  set: ({ user, document, fields }) => withClientOf(user, (db) => setDoc(doc(db, document), fields)),

  update: ({ user, document, fields }) => withClientOf(user, (db) => updateDoc(doc(db, document), fields)),

  delete: ({ user, document }) => withClientOf(user, (db) => deleteDoc(doc(db, document))),

  // Listens until `unfollow`, from the server's first word on: each following holds a connection, and a browser has six
  // to a host. Gives the number of the following.
  follow: ({ user, ...wanted }) =>
    new Promise((resolve, reject) => {
      const db = clientOf(user);
      const following = { db, told: [] };
      const number = clients;
      followings.set(number, following);
      const take = (snapshot) => {
        following.told.push(...changedIn(snapshot).map((run) => ({ id: run.id, ...run.data() })));
        resolve(number);
      };
      onSnapshot(target(db, wanted), take, reject);
    }),

  unfollow: ({ following }) => deleteApp(followings.get(following).db.app),
};

globalThis.connectTo = (given) => {
  places = given;
};

globalThis.answer = async (action, args) => {
  try {
    return { value: (await actions[action](args)) ?? null };
  } catch (error) {
    return { error: error.code ?? String(error) };
  }
};

// What a following was told of a run, in order.
globalThis.told = (following, run) =>
  followings
    .get(following)
    .told.filter(({ id }) => id === run)
    .map(({ status, result }) => ({ status, result }));

globalThis.hasEnded = (following, run) =>
  told(following, run).some(({ status }) => status === "completed" || status === "failed");
