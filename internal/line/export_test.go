package line

import (
	"maps"
	"slices"
)

// RequestsOfAdministration are their names.
func RequestsOfAdministration() []string { return slices.Sorted(maps.Keys(administration)) }

// OptionsOfAll are the names of the options of all requests.
func OptionsOfAll() []string {
	all := make(map[string]option)
	for _, options := range []map[string]option{producerOptions, consumerOptions, adminOptions, settingOptions} {
		maps.Copy(all, options)
	}
	return slices.Sorted(maps.Keys(all))
}

// ParseLogin is for fuzzing.
var ParseLogin = parseLogin
