# c_string(VAR): the text in VAR becomes a C string literal, a line of it a line of the text.
function(c_string name)
    set(text "${${name}}")
    string(REPLACE "\\" "\\\\" text "${text}")
    string(REPLACE "\"" "\\\"" text "${text}")
    string(REPLACE "\n" "\\n\"\n\"" text "${text}")
    set(${name} "\"${text}\"" PARENT_SCOPE)
endfunction()
