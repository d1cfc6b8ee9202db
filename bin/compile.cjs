/**
 * Loads the program, with what V8 compiled of it when it was built: a third of what starting it takes. V8 refuses what
 * another version of it has compiled, or one with other flags; everything is compiled as it is needed then.
 */
'use strict'
const fs = require('node:fs')
const { createRequire, wrap } = require('node:module')
const path = require('node:path')
const vm = require('node:vm')

/** @param {string} file a CommonJS module in ASCII */
exports.compile = (file) => {
  const cache = `${file}.cache`
  const script = new vm.Script(wrap(fs.readFileSync(file, 'latin1')), {
    filename: file,
    cachedData: fs.existsSync(cache) ? fs.readFileSync(cache) : undefined,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  })
  return {
    run: () => script.runInThisContext()({}, createRequire(file), {}, file, path.dirname(file)),
    /** What has been compiled up to now. */
    keep: () => fs.writeFileSync(cache, script.createCachedData())
  }
}
