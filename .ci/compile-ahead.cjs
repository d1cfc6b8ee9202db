// Runs the program, and keeps what V8 has compiled of it: what a command needs before it begins its work, whatever that
// is. An empty copy goes through most of that.
'use strict'
const { compile } = require('../bin/compile.cjs')

const program = compile(process.argv[2])
process.argv = [process.execPath, 'mqnbd', 'copy', '/dev/null', 'null:']
process.on('exit', (status) => {
  if (status === 0) program.keep()
})
program.run()
