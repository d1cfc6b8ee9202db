#!/usr/bin/env node
/** The command `mqnbd`: what has to be settled before the program is loaded, and the program. */
'use strict'
const path = require('node:path')
const { compile } = require('./compile.cjs')

// Reads and writes that wait for a disk, side by side: libuv starts so many threads with the first of them. It reads that
// only then, and in an ES module of Node 20 its first is the one that reads the module.
process.env.UV_THREADPOOL_SIZE ??= '16'

compile(path.join(__dirname, '../dist/program.cjs')).run()
