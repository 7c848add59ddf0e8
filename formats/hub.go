package formats

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

var (
	hubName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$`)
	hubRevision = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
	hubCommit   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// hubCache gives the folder of the Hugging Face cache, by the rules of huggingface_hub (constants.py), and the variable that
// decided.
func hubCache() (dir, because string) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	named := func(variable string) string {
		dir := os.Getenv(variable)
		if rest, ok := strings.CutPrefix(dir, "~/"); ok {
			return filepath.Join(home, rest)
		}
		return dir
	}
	for _, v := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := named(v); dir != "" {
			return dir, v
		}
	}
	if dir := named("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub"), "HF_HOME"
	}
	if dir := named("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface", "hub"), "XDG_CACHE_HOME"
	}
	return filepath.Join(home, ".cache", "huggingface", "hub"), "the default"
}

// hubNameOf gives OWNER/NAME of a folder in a Hugging Face cache, empty for others.
func hubNameOf(real string) string {
	if repo := cacheRepository(real); repo != real {
		return strings.ReplaceAll(strings.TrimPrefix(filepath.Base(repo), "models--"), "--", "/")
	}
	return ""
}

// hubSnapshot finds the folder of hf:OWNER/NAME[@REVISION] in the cache. Nothing is downloaded. A revision is a branch or tag
// (main when none is given) or a commit, of which an unambiguous beginning of at least 7 digits will do.
func hubSnapshot(source string) (string, error) {
	name, revision, given := strings.Cut(strings.TrimPrefix(source, "hf:"), "@")
	if !hubName.MatchString(name) || strings.Contains(name, "..") || strings.Contains(name, "--") {
		return "", &Error{Kind: ErrNotFound, File: source, Msg: "is not of the form hf:OWNER/NAME[@REVISION]"}
	}
	if !given {
		revision = "main"
	}
	if !hubRevision.MatchString(revision) || strings.Contains(revision, "..") {
		return "", &Error{Kind: ErrNotFound, File: source, Msg: fmt.Sprintf("%s is not a revision (a branch, tag or commit)", quote(revision))}
	}
	cache, because := hubCache()
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(name, "/", "--"))
	missing := func(format string, args ...any) (string, error) {
		return "", &Error{Kind: ErrNotFound, File: source, Msg: fmt.Sprintf(format, args...)}
	}
	if _, err := os.Stat(repo); err != nil {
		return missing("is not in the Hugging Face cache: looked for %s (cache folder by %s); nothing is downloaded, fetch it first with hf download %s", repo, because, name)
	}
	snapshots, _ := os.ReadDir(filepath.Join(repo, "snapshots"))
	var have []string
	for _, s := range snapshots {
		have = append(have, s.Name())
	}
	sort.Strings(have)

	commit := revision
	ref := filepath.Join(repo, "refs", filepath.FromSlash(revision))
	if text, err := os.ReadFile(ref); err == nil {
		commit = strings.TrimSpace(string(text))
		if !hubCommit.MatchString(commit) {
			return missing("%s holds %s, a commit was expected", ref, quote(commit))
		}
	} else if len(revision) >= 7 && len(revision) < 40 {
		var match []string
		for _, s := range have {
			if strings.HasPrefix(s, revision) {
				match = append(match, s)
			}
		}
		if len(match) > 1 {
			return "", &Error{Kind: ErrAmbiguous, File: source, Msg: "several snapshots begin so: " + strings.Join(match, ", ")}
		}
		if len(match) == 1 {
			commit = match[0]
		}
	}
	dir := filepath.Join(repo, "snapshots", commit)
	if info, err := os.Stat(dir); err == nil && info.IsDir() && !strings.ContainsAny(commit, "/\\") {
		return dir, nil
	}
	if len(have) == 0 {
		return missing("has no snapshot in %s", repo)
	}
	return missing("revision %s is not in the cache: looked for %s and %s; there are: %s (name one with @)", revision, ref, dir, strings.Join(have, ", "))
}
