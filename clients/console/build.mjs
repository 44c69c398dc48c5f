// SPDX-License-Identifier: Apache-2.0
// Packs the console: src/ and MQTT.js become a few hashed, minified files, and these a C file with
// the table that broker/http/console_assets.h declares. The same input gives the same bytes.
//
//     node build.mjs [--out DIR] [--c FILE] [--npm PROGRAM]
//
// DIR (default dist/) gets the files as a browser wants them, for a look without the broker.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE = join(HERE, 'src');
const TARGET = ['chrome100', 'firefox100', 'safari15.4'];
const TYPES = {
	html: 'text/html; charset=utf-8',
	js: 'text/javascript; charset=utf-8',
	css: 'text/css; charset=utf-8',
	svg: 'image/svg+xml; charset=utf-8',
	txt: 'text/plain; charset=utf-8',
};

function options(argv) {
	const given = { out: join(HERE, 'dist'), c: null, npm: 'npm' };
	for (let i = 0; i < argv.length; i += 2) {
		const name = argv[i].replace(/^--/, '');
		if (!(name in given) || argv[i + 1] === undefined) {
			console.error('usage: node build.mjs [--out DIR] [--c FILE] [--npm PROGRAM]');
			process.exit(2);
		}
		given[name] = argv[i + 1];
	}
	return given;
}

// npm writes its own copy of the lockfile when everything is in place.
function modulesAreThere() {
	const done = join(HERE, 'node_modules', '.package-lock.json');
	const lock = join(HERE, 'package-lock.json');
	return existsSync(done) && statSync(done).mtimeMs >= statSync(lock).mtimeMs;
}

function fetchModules(npm) {
	if (modulesAreThere()) {
		return;
	}
	const run = spawnSync(npm, ['ci', '--ignore-scripts', '--no-audit', '--no-fund',
		'--loglevel=error'], { cwd: HERE, stdio: ['ignore', 'inherit', 'inherit'] });
	if (run.status !== 0) {
		console.error(`
console: npm could not fetch esbuild and MQTT.js, which the console is built with (see above).
console: with a network, 'cd clients/console && npm ci' fetches them once. Without one, build
console: a broker that has no page: cmake -DNIGHTJAR_CONSOLE=OFF ...
`);
		process.exit(1);
	}
}

function hashOf(bytes) {
	return createHash('sha256').update(bytes).digest('hex').slice(0, 10);
}

// An asset whose name carries its hash: a browser may keep it for ever.
function hashed(name, extension, content) {
	const bytes = Buffer.from(content);
	return { path: `/console/${name}-${hashOf(bytes)}.${extension}`, bytes, immutable: true };
}

async function bundle(esbuild, entry, define = {}) {
	const result = await esbuild.build({
		entryPoints: [join(SOURCE, entry)],
		bundle: true,
		minify: true,
		write: false,
		format: 'iife',
		platform: 'browser',
		target: TARGET,
		charset: 'utf8',
		legalComments: 'none',
		define,
		logLevel: 'warning',
	});
	return result.outputFiles[0].contents;
}

// The licences of what is inside the packed files. MQTT.js's browser build holds its dependencies.
function licences() {
	const modules = join(HERE, 'node_modules');
	const lock = JSON.parse(readFileSync(join(HERE, 'package-lock.json'), 'utf8'));
	const parts = ['The console holds MQTT.js and the packages that its browser build is made of.\n'];
	for (const path of Object.keys(lock.packages).sort()) {
		const name = path.replace(/^.*node_modules\//, '');
		const folder = join(HERE, path);
		if (path === '' || /^(@esbuild\/|esbuild$|@types\/)/.test(name) || !existsSync(folder)) {
			continue;
		}
		const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
		const text = file ? readFileSync(join(folder, file), 'utf8').trim() : '(no text in the package)';
		const { version, license } = lock.packages[path];
		parts.push(`== ${name} ${version} (${license})\n\n${text}\n`);
	}
	if (!existsSync(join(modules, 'mqtt'))) {
		throw new Error('MQTT.js is not in node_modules');
	}
	return parts.join('\n');
}

// Leaves one blank where a line ends, so that words stay apart; <pre> and <textarea> are empty here.
function smallHtml(text) {
	return text.replace(/<!--(?!\s*SPDX)[\s\S]*?-->/g, '').replace(/\s*\n\s*/g, '\n').trim() + '\n';
}

async function makeAssets() {
	const esbuild = await import('esbuild');
	const worker = hashed('mqtt', 'js', await bundle(esbuild, 'link/worker.js'));
	const app = hashed('app', 'js', await bundle(esbuild, 'app.js', {
		WORKER_FILE: JSON.stringify(worker.path.slice(1)),
	}));
	const style = hashed('style', 'css', await bundle(esbuild, 'style/main.css'));
	const icon = hashed('icon', 'svg', readFileSync(join(SOURCE, 'icon.svg')));
	const texts = hashed('licences', 'txt', licences());
	let html = smallHtml(readFileSync(join(SOURCE, 'index.html'), 'utf8'));
	for (const [name, asset] of Object.entries({ 'app.js': app, 'style.css': style,
		'icon.svg': icon, 'licences.txt': texts })) {
		const wanted = new RegExp(`"${name.replace('.', '\\.')}"`, 'g');
		if (!wanted.test(html)) {
			throw new Error(`index.html does not mention "${name}"`);
		}
		// Relative, so that a proxy may serve the page below a path of its own.
		html = html.replace(wanted, `"${asset.path.slice(1)}"`);
	}
	const page = { path: '/', bytes: Buffer.from(html), immutable: false };
	return [page, worker, app, style, icon, texts].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function typeOf(path) {
	return TYPES[path === '/' ? 'html' : path.replace(/^.*\./, '')];
}

function writeFiles(folder, assets) {
	rmSync(folder, { recursive: true, force: true });
	mkdirSync(join(folder, 'console'), { recursive: true });
	for (const { path, bytes } of assets) {
		writeFileSync(join(folder, path === '/' ? 'index.html' : path), bytes);
	}
}

function cBytes(bytes) {
	const lines = [];
	for (let i = 0; i < bytes.length; i += 24) {
		lines.push('\t' + Array.from(bytes.subarray(i, i + 24)).join(',') + ',');
	}
	return lines.join('\n');
}

function cTable(assets) {
	const parts = ['/* SPDX-License-Identifier: Apache-2.0 */',
		'/* Made by clients/console/build.mjs. */', '#include "http/console_assets.h"', ''];
	const rows = assets.map((asset, index) => {
		const packed = gzipSync(asset.bytes, { level: 9 });
		asset.packed = packed.length;
		parts.push(`static const unsigned char asset_${index}[] = {\n${cBytes(packed)}\n};\n`);
		return `\t{"${asset.path}", "${typeOf(asset.path)}", "\\"${hashOf(asset.bytes)}\\"",\n` +
			`\t asset_${index}, sizeof asset_${index}, ${asset.immutable}},`;
	});
	parts.push('const struct console_asset console_assets[] = {', ...rows, '};',
		`const size_t console_assets_count = ${assets.length};`, '');
	return parts.join('\n');
}

const given = options(process.argv.slice(2));
fetchModules(given.npm);
const assets = await makeAssets();
writeFiles(given.out, assets);
const table = cTable(assets);
if (given.c) {
	writeFileSync(given.c, table);
} else {
	for (const { path, bytes, packed } of assets) {
		console.log(`${String(bytes.length).padStart(8)} ${String(packed).padStart(7)} packed  ${path}`);
	}
}
