package web

import (
	"bufio"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"mbus/internal/broker"
)

// position gives a group a position in a topic.
func (r *rig) position(topic, groupName string) {
	r.Helper()
	view := r.broker.As(broker.Self)
	t, err := view.Topic(topic, broker.Read)
	if err != nil {
		r.Fatal(err)
	}
	if err := view.ResetOffsets(groupName, t, make([]int64, len(t.Partitions()))); err != nil {
		r.Fatal(err)
	}
}

// commands are those that a view has to copy.
func commands(page string) (all []string) {
	for _, m := range regexp.MustCompile(`<div class="command"><pre><code>(.*?)</code>`).FindAllStringSubmatch(page, -1) {
		all = append(all, html.UnescapeString(m[1]))
	}
	return all
}

// live is the query for the numbers of a view.
func live(page string) string {
	return html.UnescapeString(regexp.MustCompile(`data-live="([^"]*)"`).FindStringSubmatch(page)[1])
}

func TestLettersThatAreLeftAreShownAndOthersAreDone(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 4 {
		r.form(http.StatusSeeOther, "/ui/topics/orders.dlq/publish", "value", fmt.Sprint("letter ", i), "headers", "mbus-topic: orders")
	}
	r.mustConfirm("/ui/dead/orders.dlq/redrive", "orders.dlq", "letter", "0:2")
	page := r.must(http.StatusOK, "GET", "/ui/dead/orders.dlq", "")
	for i := range 4 {
		box := fmt.Sprintf(`name="letter" value="0:%d"`, i)
		if !strings.Contains(page, fmt.Sprint("letter ", i)) || strings.Contains(page, box) != (i != 2) {
			t.Errorf("letter %d: %s", i, page)
		}
	}
	for query, want := range map[string]string{"letter=0:2": "0", "letter=0:1&letter=0:2": "1", "letter=0:9": "0", "letter=7:0": "0"} {
		if got := r.must(http.StatusOK, "POST", "/topics/orders.dlq/redrive?"+query, ""); !strings.Contains(got, `"letters":`+want+",") {
			t.Errorf("%s: not %s in %s", query, want, got)
		}
	}
}

func TestNamesOfKafkaGroupsCanBeLookedAtAndChanged(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	const name = "team: <b>'$(id)' & 1%2F/../x"
	r.position("orders", name)
	path := url.PathEscape(name)
	if list := r.must(http.StatusOK, "GET", "/ui/groups", ""); !strings.Contains(html.UnescapeString(list), `"/ui/groups/`+path+`"`) {
		t.Errorf("no link in %s", list)
	}
	page := r.must(http.StatusOK, "GET", "/ui/groups/"+path, "")
	if got := live(page); got != "group="+url.QueryEscape(name) {
		t.Errorf("the numbers are those of %q", got)
	}
	if got, want := strings.Join(commands(page), "\n"), "curl 'http://127.0.0.1:9992/groups/"+path+"'"; got != want {
		t.Errorf("commands %q, not %q", got, want)
	}
	r.must(http.StatusOK, "GET", "/groups/"+path, "")
	r.must(http.StatusOK, "POST", "/groups/"+path+"/reset?topic=orders&to=end&execute", "")
	r.mustConfirm("/ui/groups/"+path+"/reset", "orders", "topic", "orders", "to", "beginning")
	r.mustConfirm("/ui/groups/"+path+"/delete", name)
	r.must(http.StatusBadRequest, "GET", "/groups/"+path, "")
	r.must(http.StatusBadRequest, "POST", "/groups/"+path+"/reset?topic=orders&to=end&execute", "")
}

func TestAllGroupsAreListedOnceOverPages(t *testing.T) {
	r := newRig(t, Options{})
	const n = broker.PageRows + 5
	for i := range 2 {
		topic := r.publish(fmt.Sprint("t", i), "first")
		for j := range n/2 + 1 {
			if _, err := r.broker.As(broker.Self).Position(fmt.Sprintf("g%04d", j), topic, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := make(map[string]bool)
	query := ""
	for pages := 0; ; pages++ {
		page := r.must(http.StatusOK, "GET", "/ui/groups"+query, "")
		for _, m := range regexp.MustCompile(`<tr data-key="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if seen[m[1]] {
				t.Errorf("%s is there twice", m[1])
			}
			seen[m[1]] = true
		}
		if strings.Contains(page, "Groups without a position") {
			t.Error("groups of another page are said to have no position")
		}
		next := regexp.MustCompile(`href="/ui/groups(\?after=[^"]*)"`).FindStringSubmatch(page)
		if next == nil || pages > 5 {
			break
		}
		query = html.UnescapeString(next[1])
	}
	if want := 2 * (n/2 + 1); len(seen) != want {
		t.Errorf("%d of %d rows", len(seen), want)
	}
	if page := r.must(http.StatusOK, "GET", "/ui/groups?after=z", ""); strings.Contains(page, "There is no group yet") {
		t.Error("behind the last group there is none yet")
	}
	if got := r.firstNumbers(live(r.must(http.StatusOK, "GET", "/ui/groups?match=g0502", ""))); !strings.Contains(got, `"g0502 t1"`) || strings.Contains(got, "g0001") || strings.Contains(got, `"topics"`) {
		t.Errorf("numbers of the view: %.300s", got)
	}
}

// firstNumbers is the first event of the numbers for a view.
func (r *rig) firstNumbers(query string) string {
	r.Helper()
	resp, err := http.Get(r.url + "/ui/numbers?" + query)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil {
		r.Fatal(err)
	}
	return line
}

// A link of another site must not have the broker say something.
func TestWhatWasDoneIsSaidToThePageOnly(t *testing.T) {
	r := newRig(t, Options{})
	const browser = "Mozilla/5.0"
	for _, c := range []struct {
		headers []string
		said    bool
	}{
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", "none"}, false},
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"User-Agent", browser}, false},
		{[]string{"User-Agent", browser, "Referer", "http://attacker.example/"}, false},
		{[]string{"User-Agent", browser, "Referer", r.url + "/ui/groups"}, true},
		{nil, true}, // a browser of a terminal
	} {
		if page := r.must(http.StatusOK, "GET", "/?done=call+0900+1234", "", c.headers...); strings.Contains(page, "call 0900 1234") != c.said {
			t.Errorf("%q: said is not %v", c.headers, c.said)
		}
	}
}

func TestCommandsToCopyNameTheBroker(t *testing.T) {
	r := newRig(t, Options{Ports: map[string]string{"consumers": "0.0.0.0:1991", "http": "0.0.0.0:1992"}, Hosts: []string{"bus.example"}})
	r.publish("orders.dlq", "letter")
	for host, flags := range map[string]string{"bus.example": "-host bus.example -port 1991", "localhost:1992": "-port 1991"} {
		for _, path := range []string{"/", "/ui/groups", "/ui/dead", "/ui/dead/orders.dlq", "/ui/topics/orders.dlq"} {
			for _, command := range commands(r.must(http.StatusOK, "GET", path, "", "Host", host)) {
				name, rest, _ := strings.Cut(command, " ")
				if name == "admin" {
					_, rest, _ = strings.Cut(rest, " ")
				}
				if (name == "admin" || name == "consumer") && rest != flags && !strings.HasPrefix(rest, flags+" -") {
					t.Errorf("%s: %q", path, command)
				}
			}
		}
		preview, _ := r.formAt(host, "/ui/topics/orders.dlq/delete")
		if want := "admin delete " + flags + " -topic orders.dlq -execute"; strings.Join(commands(preview), "") != want {
			t.Errorf("%q, not %q", commands(preview), want)
		}
	}
}

// formAt sends an empty form to a host.
func (r *rig) formAt(host, path string) (body string, status int) {
	r.Helper()
	status, body, _ = r.do("POST", path, "", "Content-Type", "application/x-www-form-urlencoded", "Host", host)
	return body, status
}

func TestLongTextEndsBehindACharacter(t *testing.T) {
	for shift := range 5 {
		for _, char := range []string{"é", "€", "😀"} {
			text := strings.Repeat("x", shift) + strings.Repeat(char, maxShown)
			if got := visible([]byte(text)); strings.Contains(got, `\x`) || !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) || len(got) < maxShown-1 {
				t.Errorf("%q behind %d bytes ends in %q", char, shift, got[len(got)-20:])
			}
		}
	}
	if got := visible([]byte(strings.Repeat("\xff", 2*maxShown))); len(got) != len(`\xff`)*maxShown+len("…") {
		t.Errorf("%d bytes of what is no text", len(got))
	}
}

func TestViewsOfAGroupWithManyPositionsAreBounded(t *testing.T) {
	r := newRig(t, Options{})
	for _, topic := range []string{"a", "b"} {
		r.partitions(topic, broker.PageRows/2+5)
		r.position(topic, "billing")
	}
	page := r.must(http.StatusOK, "GET", "/ui/groups/billing", "")
	if n := strings.Count(page, `<tr><th scope="row">`); n != broker.PageRows || !strings.Contains(page, "first entries only") {
		t.Errorf("%d positions", n)
	}
	preview, _ := r.form(http.StatusOK, "/ui/groups/billing/delete")
	if n := strings.Count(preview, "<tr><td>"); n != broker.PageRows+1 || !strings.Contains(preview, "and all others") {
		t.Errorf("%d rows of the preview", n)
	}
}
