/** The style sheet of every page: one column, set for reading; phones, paper, light and dark. */
import { FONT, tokenStyles } from './theme.js';

export function pageStyle(): string {
  return `${tokenStyles()}${RULES}`.replace(/\n\s*/g, '');
}

const RULES = `
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--surface);color:var(--ink);font:17px/1.6 ${FONT}}
main,header,footer{max-width:800px;margin:0 auto;padding:0 20px}
header{padding-top:44px}
h1,h2,h3{line-height:1.22;letter-spacing:-.012em;text-wrap:balance}
h1{font-size:1.75rem;font-weight:680;margin:.4em 0 .45em}
.verdict{font-size:1.16rem;line-height:1.45;margin:0 0 .4rem}
h2{font-size:1.42rem;font-weight:660;margin:3.2rem 0 .6rem;padding-top:1.3rem;border-top:1px solid var(--line)}
h3{font-size:1.06rem;font-weight:640;margin:1.9rem 0 .35rem}
p{margin:.55rem 0 .9rem;text-wrap:pretty}
a{color:var(--accent);text-underline-offset:2px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.86em}
code{background:var(--sunken);padding:.1em .35em;border-radius:4px}
pre{background:var(--sunken);border:1px solid var(--line);border-radius:8px;padding:14px 16px;overflow-x:auto;line-height:1.5;margin:.7rem 0 1.1rem}
pre code{background:none;padding:0}
.eyebrow{color:var(--muted);font-size:.86rem;margin:0}
.notice{border:1px solid var(--caution);border-left-width:5px;border-radius:8px;padding:10px 16px;margin:1rem 0;background:var(--sunken)}
.notice strong{color:var(--caution)}
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:10px;margin:1.5rem 0 1.2rem;padding:0;list-style:none}
@media screen and (min-width:821px){.tiles:has(li:last-child:nth-child(4)){grid-template-columns:repeat(4,1fr)}}
.tiles li{background:var(--sunken);border-radius:10px;padding:12px 14px;border-top:3px solid var(--line)}
.tiles .good{border-top-color:var(--good)}
.tiles .bad{border-top-color:var(--bad)}
.tiles .caution{border-top-color:var(--caution)}
.tiles span{display:block}
.tiles .name{font-size:.8rem;color:var(--muted);line-height:1.35}
.tiles .value{font-size:1.45rem;font-weight:660;letter-spacing:-.015em;line-height:1.35;font-variant-numeric:tabular-nums}
.tiles .note{font-size:.8rem;color:var(--muted);line-height:1.35}
nav{font-size:.9rem;margin:1.3rem 0 0}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px}
figure{margin:1.6rem 0 2.2rem}
figcaption,.caption{font-size:.9rem;color:var(--muted);line-height:1.5;margin:.5rem 0 .4rem}
.drawing svg{display:block;max-width:100%;height:auto}
.narrow{display:none}
details{margin:.4rem 0}
summary{cursor:pointer;font-size:.9rem;color:var(--accent);padding:.25rem 0}
summary:focus-visible,.scroll:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
table{border-collapse:collapse;font-size:.86rem;line-height:1.4;min-width:100%}
caption{text-align:left;color:var(--muted);padding-bottom:6px}
th,td{padding:6px 10px 6px 0;vertical-align:top;text-align:left;border-bottom:1px solid var(--grid)}
thead th{color:var(--muted);font-weight:600;border-bottom-color:var(--line);vertical-align:bottom}
tbody th{font-weight:500;min-width:8.2em}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-left:8px}
thead .number{white-space:normal}
th:last-child,td:last-child{padding-right:2px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:.8rem 0;font-size:.95rem}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.question{margin:1rem 0}
.question summary{font-weight:600;font-size:1rem;color:var(--ink);margin-bottom:.5rem;overflow-wrap:anywhere}
.question .aside{font-weight:400;color:var(--muted);font-size:.86rem;margin-left:.4em}
.traces{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:12px}
.trace{border:1px solid var(--line);border-radius:10px;padding:10px 12px 12px;min-width:0}
.trace h4{font-size:.86rem;margin:0 0 8px;line-height:1.35;font-weight:640}
.trace h4 span{display:block;font-weight:400;color:var(--muted)}
.tokens{display:flex;flex-wrap:wrap;gap:4px 3px;margin:0;font-size:.84rem;line-height:1.3}
.running{display:block;font-size:.88rem;line-height:1.75;white-space:pre-wrap;overflow-wrap:anywhere}
.token{border-radius:4px;padding:1px 4px}
.tokens .token small{display:block;font-size:.66rem;font-variant-numeric:tabular-nums}
.key{display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center;font-size:.86rem;color:var(--muted);margin:.6rem 0}
.key .token{color:var(--ink)}
footer{margin-top:4rem;padding-top:1.2rem;padding-bottom:3rem;color:var(--muted);font-size:.86rem}
@media screen and (max-width:820px){
 body{font-size:16px}
 header{padding-top:24px}
 h1{font-size:1.42rem}
 .verdict{font-size:1.06rem}
 h2{font-size:1.26rem;margin-top:2.4rem}
 main,header,footer{padding-left:17px;padding-right:17px}
 .tiles{grid-template-columns:repeat(2,1fr)}
 .tiles .value{font-size:1.25rem}
 dl{grid-template-columns:1fr;gap:0}
 dd{margin-bottom:8px}
}
@media screen and (max-width:793px){.wide{display:none}.narrow{display:block}}
@page{margin:14mm}
@media print{
 body{font-size:10.5pt}
 main,header,footer{max-width:none;padding:0}
 header{padding-top:0}
 nav,summary,.screen-only{display:none}
 th,td{padding-top:3px;padding-bottom:3px}
 .question summary{display:block}
 details::details-content{content-visibility:visible;display:block}
 h2{margin-top:1.6rem}
 h1,h2,h3,h4,.question summary{break-after:avoid}
 figure,.trace,tr,.tiles li{break-inside:avoid}
 figure:has(tbody tr:nth-child(12)){break-inside:auto}
 .drawing{break-inside:avoid}
 .drawing svg{max-width:150mm}
 .scroll{overflow:visible}
 table{font-size:8.4pt}
 pre{white-space:pre-wrap}
 a{color:inherit;text-decoration:none}
 body{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
`;
