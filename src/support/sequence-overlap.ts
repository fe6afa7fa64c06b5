/** How much two texts have in common, word by word: diagnostics of copying, never a measure of being right. */

/** Lower-case words of letters and digits. @see the tokenisation of google-research/rouge, without stemming */
export const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/**
 * ROUGE-L: 2·LCS/(m + n), the F-measure of the longest common subsequence, in 0–1; 1 for two empty sequences. Time m·n.
 * @see Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1, with β = 1
 */
export function rougeL<T>(candidate: readonly T[], reference: readonly T[]): number {
  const total = candidate.length + reference.length;
  return total === 0 ? 1 : (2 * longestCommonSubsequence(candidate, reference)) / total;
}

function longestCommonSubsequence<T>(a: readonly T[], b: readonly T[]): number {
  // lengths[j]: of the part of a that was read and the first j of b.
  const lengths = new Int32Array(b.length + 1);
  for (const item of a) {
    let diagonal = 0;
    for (let j = 1; j <= b.length; j++) {
      const above = lengths[j];
      lengths[j] = item === b[j - 1] ? diagonal + 1 : Math.max(above, lengths[j - 1]);
      diagonal = above;
    }
  }
  return lengths[b.length];
}

/**
 * Overlap of n-grams over pairs of sequences: 2·Σ matches/(Σ n-grams of candidates + Σ n-grams of references), an n-gram matching as
 * often as it stands in both. Null where there is no n-gram at all.
 */
export function ngramOverlap<T>(
  pairs: readonly { readonly candidate: readonly T[]; readonly reference: readonly T[] }[],
  n: number,
): number | null {
  let numMatches = 0;
  let total = 0;
  for (const { candidate, reference } of pairs) {
    const [own, other] = [countNgrams(candidate, n), countNgrams(reference, n)];
    for (const [gram, count] of own) numMatches += Math.min(count, other.get(gram) ?? 0);
    total += Math.max(0, candidate.length - n + 1) + Math.max(0, reference.length - n + 1);
  }
  return total === 0 ? null : (2 * numMatches) / total;
}

function countNgrams<T>(items: readonly T[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + n <= items.length; start++) {
    const gram = JSON.stringify(items.slice(start, start + n));
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}
