package formats

import (
	"fmt"
	"slices"
	"strings"
)

// wrappers are the attributes under which PyTorch's wrappers keep the module that they wrap, wherever they stand in a name:
// torch.compile, FullyShardedDataParallel, activation checkpointing, Lightning Fabric.
var wrappers = []string{"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}

// container is where DataParallel and DistributedDataParallel keep theirs. A model may have a part of this name itself, so it
// is taken for theirs only where every name starts with it.
const container = "module."

// unwrap removes from the names of tensors what wrappers have put there. Where two tensors would come to have one name, the
// names stay as they are.
func (c *Checkpoint) unwrap() {
	var found []string
	short := c.renamed(func(name string) string {
		parts := strings.Split(name, ".")
		if len(parts) < 2 {
			return name
		}
		kept := slices.DeleteFunc(parts, func(p string) bool {
			if !slices.Contains(wrappers, p) {
				return false
			}
			if !slices.Contains(found, p) {
				found = append(found, p)
			}
			return true
		})
		return strings.Join(kept, ".")
	})
	if len(found) > 0 && short != nil {
		slices.Sort(found)
		c.notes = append(c.notes, fmt.Sprintf("names hold %s of PyTorch's wrappers, which was removed", strings.Join(found, ", ")))
		c.tensors = short
	}
	for c.Unprefix(container) {
	}
}

// Unprefix removes a prefix that every tensor's name has, and notes it; false where some name has it not. It must not be
// called while others use the checkpoint.
func (c *Checkpoint) Unprefix(prefix string) bool {
	for name := range c.tensors {
		if !strings.HasPrefix(name, prefix) || name == prefix {
			return false
		}
	}
	short := c.renamed(func(name string) string { return name[len(prefix):] })
	if len(short) == 0 {
		return false
	}
	c.notes = append(c.notes, fmt.Sprintf("every name starts with %q, which was removed", prefix))
	c.tensors = short
	c.sortNames()
	return true
}

// renamed gives the tensors by new names, nil where two would have the same or one none.
func (c *Checkpoint) renamed(by func(string) string) map[string]*Tensor {
	out := make(map[string]*Tensor, len(c.tensors))
	for old, t := range c.tensors {
		name := by(old)
		if _, twice := out[name]; twice || name == "" {
			return nil
		}
		if name != old {
			renamed := *t
			renamed.Name = name
			t = &renamed
		}
		out[name] = t
	}
	return out
}
