package docs

import (
	"regexp"
	"strings"
	"testing"
)

// dialect are patterns of sentences that a reader has to decode, each with what is clear in
// its place. The rule is: subject first, the field's noun, one fact a sentence.
var dialect = []struct{ pattern, instead string }{
	{`\b[Ww]ho (commits|follows|leads|reads|is|has|was|waits|wants|asks|writes|sends|knows|holds|comes|makes|gets)\b`, "a noun: the consumer that, each client that"},
	{`\b[Ww]hat is (much|torn|more|damaged|left|there|stored|missing|free|due)\b`, "a noun: the messages that, a large sync, the rest"},
	{`\banew\b`, "again"},
	{`\b(is|are|was|were|be|been) told\b`, "gets, the response says, an error says"},
	{`\bheard\b|\bhears\b`, "reads, read, gets"},
	{`\b(give|gives|giving) way\b`, "yields, is released for"},
	{`\bat hand\b`, "what is meant: loaded, in memory, waiting"},
	{`\b\d+ in 100\b`, "%"},
	{`\bas good as\b|\bnear enough\b`, "counts as, about"},
	{`\b[Ww]hoever\b`, "each client that, a caller that"},
	{`\bfor want of\b`, "because of, without"},
	{`\b(put|puts|set|sets) aside\b|\btorn end\b`, "quarantine, torn tail"},
	{`\bsync marks?\b`, "recovery point"},
	{`\bso much later\b|\bin silence\b`, "this much later, silently"},
	{`, for (it|they|he|she|there|this|that|these|those|a|an|the|no|some|many|every|each) [a-z]+ (is|are|was|were|would|will|can|may|has|have|does|do)\b`, "because"},
}

// quotation is text in a document that is not prose: code, and what a program prints.
var quotation = regexp.MustCompile("`[^`]*`")

func TestDocumentsAndCommentsSpeakPlainly(t *testing.T) {
	patterns := make([]*regexp.Regexp, len(dialect))
	for i, d := range dialect {
		patterns[i] = regexp.MustCompile(d.pattern)
	}
	prose := func(path string) bool { return strings.HasSuffix(path, ".md") || strings.HasSuffix(path, ".go") }
	for _, name := range files(t, prose) {
		number := 0
		for line := range strings.Lines(document(t, name)) {
			number++
			text := quotation.ReplaceAllString(line, "")
			if strings.HasSuffix(name, ".go") {
				_, text, _ = strings.Cut(line, "//")
			}
			for i, p := range patterns {
				if found := p.FindString(text); found != "" {
					t.Errorf("%s:%d: %q: write %s", name, number, found, dialect[i].instead)
				}
			}
		}
	}
}
