package text

// trie finds the strings of a set that a text starts with. Its edges are in one map, so that a large vocabulary stays
// compact: (node << 8 | byte) → node.
type trie struct {
	edges  map[uint64]uint32
	values map[uint32]int
	nodes  uint32
}

func newTrie() *trie {
	return &trie{edges: map[uint64]uint32{}, values: map[uint32]int{}, nodes: 1}
}

// add gives s a value; a later value of the same string replaces it.
func (t *trie) add(s string, value int) {
	node := uint32(0)
	for i := range len(s) {
		edge := uint64(node)<<8 | uint64(s[i])
		next, ok := t.edges[edge]
		if !ok {
			next = t.nodes
			t.nodes++
			t.edges[edge] = next
		}
		node = next
	}
	t.values[node] = value
}

// longest returns the value and length of the longest string that text starts with; n is 0 if there is none.
func (t *trie) longest(text string) (value, n int) {
	t.prefixes(text, func(v, length int) { value, n = v, length })
	return value, n
}

// prefixes calls found for each string that text starts with, the shortest first.
func (t *trie) prefixes(text string, found func(value, n int)) {
	node := uint32(0)
	for i := range len(text) {
		next, ok := t.edges[uint64(node)<<8|uint64(text[i])]
		if !ok {
			return
		}
		node = next
		if v, ok := t.values[node]; ok {
			found(v, i+1)
		}
	}
}
