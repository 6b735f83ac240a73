/** Compares two texts word by word. */

const MAX_CELLS = 4_000_000;

/** Returns [{kind: "same" | "removed" | "added", text}]; texts that are too long to compare differ as a whole. */
export function diff(before, after) {
  const a = words(before);
  const b = words(after);
  if (a.length * b.length > MAX_CELLS) return [{ kind: "removed", text: before }, { kind: "added", text: after }];
  const lengths = longestCommon(a, b);
  const parts = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add(parts, "same", a[i++]);
      j++;
    } else if (j === b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      add(parts, "removed", a[i++]);
    } else {
      add(parts, "added", b[j++]);
    }
  }
  return parts;
}

/** Splits into words with the space behind them; scripts without spaces are split by the browser's own segmenter. */
function words(text) {
  if ("Segmenter" in Intl) {
    return [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)].map((part) => part.segment);
  }
  return text.split(/(?<=\s)/);
}

function longestCommon(a, b) {
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  return lengths;
}

function add(parts, kind, text) {
  const last = parts.at(-1);
  if (last?.kind === kind) last.text += text;
  else parts.push({ kind, text });
}
