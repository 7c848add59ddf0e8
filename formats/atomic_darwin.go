package formats

import "golang.org/x/sys/unix"

// exchange swaps two paths in one step, so that at no moment the target is missing (renamex_np(2)).
func exchange(a, b string) error { return unix.RenamexNp(a, b, unix.RENAME_SWAP) }
