package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

// decode takes a JSON object, and nothing that encoding/json would understand otherwise than the client may have meant it:
// a name that is there twice, or written otherwise (ID), null, text that is no UTF-8, something behind the object.
func decode(text []byte, into any) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return badRequest("the body is empty: it has to be a JSON object, {} for all defaults")
	}
	if err := checkText(text); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := checkValue(decoder, reflect.TypeOf(into).Elem(), "the body"); err != nil {
		return bodyError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body: something follows the JSON object")
	}
	return bodyError(json.Unmarshal(text, into))
}

func bodyError(err error) error {
	var ours *kvmhotplug.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body ends within the JSON object")
	}
	return badRequest("the body: %v", err)
}

// checkValue takes one value of this type from the decoder; of type nil, any value.
func checkValue(decoder *json.Decoder, kind reflect.Type, where string) error {
	for kind != nil && kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind == reflect.TypeFor[json.RawMessage]() {
		kind = nil
	}
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if kind != nil && kind.Kind() == reflect.Struct && token != json.Delim('{') {
		return badRequest("%s is no JSON object", where)
	}
	switch token {
	case nil:
		if kind != nil {
			return badRequest("%s is null: leave it out, or give it a value", where)
		}
	case json.Delim('{'):
		return checkObject(decoder, kind, where)
	case json.Delim('['):
		var element reflect.Type
		if kind != nil && kind.Kind() == reflect.Slice {
			element = kind.Elem()
		}
		for number := 0; decoder.More(); number++ {
			if err := checkValue(decoder, element, fmt.Sprintf("%s[%d]", where, number)); err != nil {
				return err
			}
		}
		_, err = decoder.Token()
	}
	return err
}

func checkObject(decoder *json.Decoder, kind reflect.Type, where string) error {
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if seen[name] {
			return badRequest("%s has %q twice", where, name)
		}
		seen[name] = true
		var value reflect.Type
		if kind != nil && kind.Kind() == reflect.Struct {
			fields := fieldsOf(kind)
			if value = fields[name]; value == nil {
				return badRequest("%s has no %q: only %s", where, name, strings.Join(namesOf(fields), ", "))
			}
		}
		if err := checkValue(decoder, value, strconv.Quote(name)); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

// fieldsOf is what a struct has in JSON.
func fieldsOf(kind reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for index := range kind.NumField() {
		field := kind.Field(index)
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	return fields
}

func namesOf(fields map[string]reflect.Type) []string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkText refuses what would become another text: U+FFFD stands for whatever is no character.
func checkText(text []byte) error {
	if !utf8.Valid(text) {
		return badRequest("the body is no UTF-8")
	}
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' {
			continue
		}
		at++
		half, first := surrogate(text, at)
		if !half {
			continue
		}
		second, later := surrogate(text, at+6)
		if !first || at+5 >= len(text) || text[at+5] != '\\' || !second || later {
			return badRequest("the body has half a character in a text: %s", text[at-1:min(at+5, len(text))])
		}
		at += 10
	}
	return nil
}

// surrogate tells whether the escape at this place (u and four hexadecimal digits) is half of a surrogate pair, and which half.
func surrogate(text []byte, at int) (half, first bool) {
	if at+5 > len(text) || text[at] != 'u' {
		return false, false
	}
	number, err := strconv.ParseUint(string(text[at+1:at+5]), 16, 16)
	return err == nil && number >= 0xd800 && number < 0xe000, number < 0xdc00
}
