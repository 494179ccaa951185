package docs

import (
	"regexp"
	"strings"
)

// A block is a fenced block of a document.
type block struct {
	language string
	lines    []string
	line     int // where its first line stands in the document, from 1
}

// blocks gives the fenced blocks of a document, and the document without them.
func blocks(document string) (fenced []block, prose string) {
	var open *block
	var rest strings.Builder
	for i, line := range strings.Split(document, "\n") {
		fence, found := strings.CutPrefix(line, "```")
		switch {
		case found && open == nil:
			open = &block{language: fence, line: i + 2}
		case found:
			fenced, open = append(fenced, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
			continue
		}
		if open == nil && !found {
			rest.WriteString(line)
		}
		rest.WriteByte('\n')
	}
	return fenced, rest.String()
}

var (
	heading     = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors gives the names that a document's headings can be linked by, made as
// Git hosting sites make them.
func anchors(prose string) map[string]bool {
	names := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(prose, -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}
