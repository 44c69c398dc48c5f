// SPDX-License-Identifier: Apache-2.0
// Serves dist/ on a loopback port, with the headers that the broker sends: for work on the page with
// a broker elsewhere.
//
//     node build.mjs && node serve.mjs [PORT]      then open http://127.0.0.1:PORT/?broker=ws://...
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, 'dist');
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', txt: 'text/plain' };

// The macro of the header is the one place that states the policy.
function policy() {
	const header = readFileSync(join(HERE, '../../broker/http/console_assets.h'), 'utf8');
	const macro = /#define CONSOLE_CONTENT_SECURITY_POLICY((?:.*\\\n)+.*)/.exec(header)[1];
	return Array.from(macro.matchAll(/"([^"]*)"/g), ([, part]) => part).join('');
}

const server = createServer((request, response) => {
	const path = normalize(new URL(request.url, 'http://localhost').pathname);
	const file = path === '/' ? '/index.html' : path;
	try {
		const body = readFileSync(join(ROOT, file));
		response.writeHead(200, { 'Content-Type': `${TYPES[file.replace(/^.*\./, '')]}; charset=utf-8`,
			'Content-Security-Policy': policy(), 'Cache-Control': 'no-cache' });
		response.end(body);
	} catch {
		response.writeHead(404).end('not found\n');
	}
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
	console.log(`http://127.0.0.1:${server.address().port}/`);
});
