/**
 * Listens to the reader's runs in Firestore. Firebase Hosting holds streams back until they end; a listener needs none.
 * The security rules (infra/firestore.rules) let readers see their own runs, a hundred at a time.
 */

const NEWEST = 100;

/** Calls `onRun(run)` for each of the newest runs and whenever one changes, until the signal is aborted. */
export function listenToRuns(firestore, userId, { signal, onRun, onState }) {
  const query = firestore.collection("llm_runs").where("user_id", "==", userId).orderBy("created_at", "desc").limit(NEWEST);
  const stop = query.onSnapshot({ includeMetadataChanges: true }, (snapshot) => {
    for (const change of snapshot.docChanges()) {
      if (change.type !== "removed") onRun(shownRun(change.doc.data()));
    }
    onState(snapshot.metadata.fromCache ? "waiting" : "live");
  }, (error) => onState(error.message));
  signal.addEventListener("abort", stop);
}

/** Calls `onChange(events)` at first and whenever the run has changed; events are as its stream has them. */
export function listenToRun(firestore, id, { signal, onChange, onError }) {
  const stop = firestore.collection("llm_runs").doc(id).onSnapshot((snapshot) => {
    if (snapshot.exists) onChange((snapshot.data().events ?? []).map((event) => ({ ...event, at: iso(event.at) })));
  }, onError);
  signal.addEventListener("abort", stop);
}

/** A stored document under the names of the API, as far as the list shows it. */
function shownRun(document) {
  const isJob = document.kind === "job";
  return {
    run_uuid: document.id,
    kind: isJob ? undefined : document.kind,
    job_type: document.job_type,
    input_text: isJob ? undefined : document.input?.text,
    status: document.status,
    created_at: iso(document.created_at),
    processing_time: document.processing_time,
    waiting_for: document.waiting_for,
    progress: document.progress,
    deployment: isJob ? undefined : document.deployment,
    model: document.model,
    metrics: document.metrics,
    error: document.error,
  };
}

function iso(timestamp) {
  return timestamp?.toDate?.().toISOString() ?? timestamp;
}
