package heymanito_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	gotoken "go/token"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever a host can call, set or hook into has an Example that does it: in its
// package, or, what is selected from that, in another one's.
func TestExamples(t *testing.T) {
	dirs := []string{".", "middleware", "livekit", "heymanitotest", "presencetest", "inboxtest", "callstest", "boltinbox", "bridge", "metrics"}
	packages, uses, everywhere := make([]*doc.Package, len(dirs)), make([]map[string]bool, len(dirs)), map[string]bool{}
	for i, dir := range dirs {
		packages[i], uses[i] = manual(t, dir)
		maps.Copy(everywhere, uses[i])
	}
	for i, p := range packages {
		need := func(name string, names ...string) {
			for _, n := range append(names, name) {
				if uses[i][n] || strings.HasPrefix(n, p.Name+".") && everywhere[n] {
					return
				}
			}
			t.Errorf("no Example of package %s has anything to do with %s", p.Name, name)
		}
		function := func(f *doc.Func) { need(f.Name, p.Name+"."+f.Name) }
		for _, f := range p.Funcs {
			function(f)
		}
		for _, typ := range p.Types {
			for _, f := range typ.Funcs {
				function(f)
			}
			for _, m := range typ.Methods {
				switch {
				case strings.HasPrefix(m.Doc, m.Name+" implements "): // it is not for hosts to call
				case typ.Name == "Server":
					need("Server_"+m.Name, "rt."+m.Name) // by convention
				default:
					need(typ.Name+"_"+m.Name, "."+m.Name)
				}
			}
			if typ.Name == "Hooks" {
				for _, hook := range fields(typ) {
					need("Hooks."+hook, hook+":")
				}
			}
		}
	}
}

// manual is the documentation of a package, and what its Examples do: "F" and
// "T_M" for those that are named so, "x.F" and ".F" for what they select, and
// "F:" for the fields that they set.
func manual(t *testing.T, dir string) (*doc.Package, map[string]bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := gotoken.NewFileSet()
	var files, tests []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.go") {
			tests = append(tests, f)
		} else {
			files = append(files, f)
		}
	}
	p, err := doc.NewFromFiles(set, files, dir)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, e := range doc.Examples(tests...) {
		used[e.Name] = true
		ast.Inspect(e.Code, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				used["."+n.Sel.Name] = true
				if x, ok := n.X.(*ast.Ident); ok {
					used[x.Name+"."+n.Sel.Name] = true
				}
			case *ast.KeyValueExpr:
				if field, ok := n.Key.(*ast.Ident); ok {
					used[field.Name+":"] = true
				}
			}
			return true
		})
	}
	return p, used
}

// fields is the names of the fields of a struct.
func fields(typ *doc.Type) (names []string) {
	for _, f := range typ.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType).Fields.List {
		for _, name := range f.Names {
			names = append(names, name.Name)
		}
	}
	return names
}
