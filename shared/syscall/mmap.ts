/** Mapping files and memory at addresses, as numbers. @see mmap(2), munmap(2) */
import { declare } from './libc.ts'

/** @returns the address; -1 when it fails */
export const mmap = declare(
  'int64_t mmap(uintptr_t at, size_t length, int prot, int flags, int fd, int64_t offset)'
)
export const munmap = declare('int munmap(uintptr_t address, size_t length)')
