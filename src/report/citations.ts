/** How to cite what a report rests on, as BibTeX. */

/** This program at a version, and at a commit where it is known. */
export function softwareCitation(version: string, commit: string | null): string {
  const note = commit === null ? '' : `,\n  note    = {commit ${commit.slice(0, 12)}}`;
  return `@software{azeotrope,
  title   = {azeotrope: measuring, resisting and performing language-model distillation},
  author  = {{The azeotrope contributors}},
  version = {${version}}${note}
}`;
}

export const ANTIDISTILLATION_CITATION = `@article{savani2025antidistillation,
  title   = {Antidistillation Sampling},
  author  = {Savani, Yash and Trockman, Asher and Feng, Zhili and Xu, Yixuan Even and Schwarzschild, Avi
             and Robey, Alexander and Finzi, Marc and Kolter, J. Zico},
  journal = {arXiv preprint arXiv:2504.13146},
  year    = {2025}
}`;

export const GAD_CITATION = `@article{ye2025blackbox,
  title   = {Black-Box On-Policy Distillation of Large Language Models},
  author  = {Ye, Tianzhu and Dong, Li and Chi, Zewen and Wu, Xun and Huang, Shaohan and Wei, Furu},
  journal = {arXiv preprint arXiv:2511.10643},
  year    = {2025}
}`;
