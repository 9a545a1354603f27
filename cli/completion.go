package cli

import (
	"fmt"
	"strings"
)

// completeVerb is what the shells' scripts call: it prints what may stand in
// place of the last word, one candidate on a line, a tab and its meaning behind;
// nothing when that is a file's name.
const completeVerb = "__complete"

var completionScripts = map[string]string{
	"bash": `# bash completion for mpipe
_mpipe() {
	local cur=${COMP_WORDS[COMP_CWORD]} line
	COMPREPLY=()
	while IFS=$'\t' read -r line _; do
		[[ $line == "$cur"* ]] && COMPREPLY+=("$line")
	done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -o bashdefault -F _mpipe mpipe
`,
	"zsh": `#compdef mpipe
_mpipe() {
	local -a found
	local word says
	while IFS=$'\t' read -r word says; do
		found+=("${word//:/\\:}:$says")
	done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
	if (( ${#found} )); then _describe mpipe found; else _files; fi
}
if [[ $funcstack[1] == _mpipe ]]; then _mpipe "$@"; else compdef _mpipe mpipe; fi
`,
	"fish": `# fish completion for mpipe
function __mpipe_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l found ($words[1] __complete $words[2..-1] 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path (commandline -ct)
	end
end
complete -c mpipe -f -a '(__mpipe_complete)'
`,
}

func completionVerb() *verb {
	shells := sortedKeys(completionScripts)
	return &verb{
		name: "completion", args: strings.Join(shells, "|"), min: 1, max: 1,
		short: "print the completion script of a shell",
		examples: []example{
			{"source <(mpipe completion bash)", "for this bash; put it into ~/.bashrc to keep it"},
			{"mpipe completion zsh > \"${fpath[1]}/_mpipe\"", "for zsh, from the next start on"},
			{"mpipe completion fish > ~/.config/fish/completions/mpipe.fish", "for fish"},
		},
		complete: func() []string { return shells },
		declare: func(*flags) func(*call) int {
			return func(c *call) int {
				script, ok := completionScripts[c.args[0]]
				if !ok {
					return c.usage("no completion for %q; there is %s", c.args[0], strings.Join(shells, ", "))
				}
				fmt.Fprint(c.stdout, script)
				return 0
			}
		},
	}
}

// complete answers the shells: words are what stands behind "mpipe", the last
// one unfinished.
func complete(c *call, words []string) {
	if len(words) <= 1 {
		for _, v := range verbs() {
			fmt.Fprintf(c.stdout, "%s\t%s\n", v.name, v.short)
		}
		return
	}
	v, _ := findVerb(words[:len(words)-1]...)
	if v == nil {
		return
	}
	if v.subs != nil {
		for i, name := range v.subNames() {
			fmt.Fprintf(c.stdout, "%s\t%s\n", name, v.subs[i].short)
		}
		return
	}
	f := newFlags()
	v.declare(f)
	current, before := words[len(words)-1], words[len(words)-2]
	if strings.HasPrefix(before, "-") && !strings.Contains(before, "=") {
		if o := f.find(strings.TrimLeft(before, "-")); o != nil && o.arg != "" {
			for _, value := range o.offers() {
				fmt.Fprintln(c.stdout, value)
			}
			return
		}
	}
	if strings.HasPrefix(current, "-") {
		for _, o := range f.list {
			fmt.Fprintf(c.stdout, "--%s\t%s\n", o.name, o.doc)
		}
		return
	}
	if v.complete != nil {
		for _, value := range v.complete() {
			fmt.Fprintln(c.stdout, value)
		}
	}
}

// offers are the values completion knows for a flag.
func (o *option) offers() []string {
	if o.name == "ring" {
		return ringNames()
	}
	return o.values
}
