// Mends one fault of OHIF's built pages, after `npm ci` and before anybody sees them.
//
// OHIF 3.13.2 reads the bits of a BINARY SEG from the wrong end of each byte where a frame is no whole number of
// bytes (rows times columns no multiple of 8), and does not read it at all where a byte pads its pixel data to an even
// length (dcmjs, `readUncompressedBitFrame`). A reader would see garbage, and save it. The lowest bit is the first
// pixel: PS3.5 8.1.1 and D.1. Each text must be found as often as it is here; else nothing is written.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FOUND_IN = 2; // the bundles that carry dcmjs
const MENDED = [
  ['sourceByte >> 7 - sourceBitIndex & 1;', 'sourceByte >> sourceBitIndex & 1;'],
  ['|= 1 << 7 - targetBitIndex;', '|= 1 << targetBitIndex;'],
  ['if (!(totalBytes !== length)) {', 'if (!(totalBytes + totalBytes % 2 !== length)) {'],
  ['allPixelData = stream.readArrayBuffer(totalBytes);', 'allPixelData = stream.readArrayBuffer(length);'],
];

const pages = process.argv[2];
const bundles = readdirSync(pages)
  .filter(name => name.endsWith('.js'))
  .map(name => [join(pages, name), readFileSync(join(pages, name), 'utf8')])
  .filter(([, text]) => text.includes('key: "readUncompressedBitFrame"'));
const faults = MENDED.map(([fault]) => bundles.filter(([, text]) => text.split(fault).length === 2).length);
if (bundles.length !== FOUND_IN || faults.some(count => count !== FOUND_IN)) {
  console.error(`viewer: this is not the OHIF that is mended here (${bundles.length} bundles, ${faults}): see ${import.meta.url}`);
  process.exit(1);
}
for (const [path, text] of bundles) {
  writeFileSync(path, MENDED.reduce((mended, [fault, right]) => mended.replace(fault, right), text));
}
