import { refuse } from './file-checks.js';

// Splitting a token costs the square of its length; real pieces are a few words at most.
const LONGEST_PIECE = 512;

/**
 * The merges that a SentencePiece BPE model performs. Such a model joins the two neighbours whose union has the highest
 * score; as a list of merges that is every way to cut a piece into two pieces, best piece first. Ways to cut one piece, and
 * pieces of equal score, are ordered as `transformers` orders them (longer left part first), so ids agree with it.
 *
 * @param vocab ids by token
 * @param scores by id; natural logarithms or minus the rank, only their order counts
 */
export function mergesFromScores(vocab: ReadonlyMap<string, number>, scores: readonly unknown[]): [string, string][] {
  const merges: { left: string; right: string; score: number }[] = [];
  for (const [piece, id] of vocab) {
    const score = scores[id];
    if (typeof score !== 'number' || Number.isNaN(score)) refuse(`tokenizer.ggml.scores[${id}]`, 'a number', score);
    if (piece.length > LONGEST_PIECE)
      refuse(`tokenizer.ggml.tokens[${id}]`, `at most ${LONGEST_PIECE} characters`, piece);
    const characters = [...piece];
    for (let cut = 1; cut < characters.length; cut++) {
      const left = characters.slice(0, cut).join('');
      const right = characters.slice(cut).join('');
      if (vocab.has(left) && vocab.has(right)) merges.push({ left, right, score });
    }
  }
  merges.sort((a, b) => b.score - a.score || b.left.length - a.left.length || b.right.length - a.right.length);
  return merges.map(({ left, right }) => [left, right]);
}
