package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed ui
var uiFiles embed.FS

// The uiSet is the files of the page. It is read with the first request for a view, because many
// brokers never get one.
type uiSet struct {
	views *template.Template
	urls  map[string]string // of assets, by name; a file's content is in its address
	files map[string][]byte // by the last part of the address
}

var ui = sync.OnceValue(func() *uiSet {
	s := &uiSet{urls: make(map[string]string), files: make(map[string][]byte)}
	s.views = template.Must(template.New("").Funcs(uiFuncs).ParseFS(uiFiles, "ui/*.html"))
	for _, name := range []string{"app.css", "app.js", "icon.svg"} {
		p, err := fs.ReadFile(uiFiles, "ui/"+name)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(p)
		base, ext, _ := strings.Cut(name, ".")
		hashed := base + "." + hex.EncodeToString(sum[:6]) + "." + ext
		s.urls[name], s.files[hashed] = "/assets/"+hashed, p
	}
	return s
})

// serveAsset answers with a file, which a browser may keep for ever: another content has another
// address.
func serveAsset(c *call) error {
	name := c.r.PathValue("name")
	p, found := ui().files[name]
	if !found {
		return &problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: "there is no such file; reload the page"}
	}
	h := c.w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Content-Length", strconv.Itoa(len(p)))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err := c.w.Write(p)
	return err
}

// serveFavicon is for browsers that show an answer which is no page, and so names no icon.
func serveFavicon(c *call) error {
	c.w.Header().Set("Location", ui().urls["icon.svg"])
	c.w.WriteHeader(http.StatusFound)
	return nil
}
