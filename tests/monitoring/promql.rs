//! A query, parsed as Prometheus does, and checked against the metrics, labels and label values that exist.
//!
//! It also finds the labels of the result: for the metric of a recording rule, and for texts such as `{{ $labels.port }}`.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse,
};

/// The values that a label may have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    Any,
    Words(BTreeSet<String>),
}

/// The labels of a metric, or of a result.
pub(crate) type Labels = BTreeMap<String, Values>;

/// All existing metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema(pub(crate) BTreeMap<String, Labels>);

impl Schema {
    /// The labels of the query's result, or everything that is wrong with it.
    pub(crate) fn check(&self, query: &str) -> Result<Labels, Vec<String>> {
        let expr = parse(query).map_err(|error| vec![format!("{error}: {query}")])?;
        let mut reader = Reader {
            schema: self,
            wrong: Vec::new(),
        };
        let labels = reader.labels(&expr);
        if reader.wrong.is_empty() {
            Ok(labels)
        } else {
            Err(reader.wrong)
        }
    }

    fn has_label(&self, label: &str) -> bool {
        self.0.values().any(|labels| labels.contains_key(label))
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    wrong: Vec<String>,
}

impl Reader<'_> {
    fn labels(&mut self, expr: &Expr) -> Labels {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Paren(paren) => self.labels(&paren.expr),
            Expr::Unary(unary) => self.labels(&unary.expr),
            Expr::Subquery(subquery) => self.labels(&subquery.expr),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Labels::new(),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) -> Labels {
        let matchers = &selector.matchers;
        let by_name: Vec<Matcher> = matchers.find_matchers("__name__");
        let selected = |name: &&String| match &selector.name {
            Some(wanted) => *name == wanted,
            None => !by_name.is_empty() && by_name.iter().all(|matcher| matcher.is_match(name)),
        };
        let mut labels: Option<Labels> = None;
        for name in self.schema.0.keys().filter(selected) {
            labels = Some(union(labels.unwrap_or_default(), self.schema.0[name].clone()));
        }
        let Some(labels) = labels else {
            self.wrong.push(format!("no such metric: {selector}"));
            return Labels::new();
        };
        let all = matchers
            .matchers
            .iter()
            .chain(matchers.or_matchers.iter().flatten());
        for matcher in all.filter(|matcher| matcher.name != "__name__") {
            match labels.get(&matcher.name) {
                None => self.wrong.push(format!("no label {}: {selector}", matcher.name)),
                Some(Values::Any) => {}
                Some(Values::Words(words)) => {
                    for wrong in wrong_values(matcher, words) {
                        let name = &matcher.name;
                        self.wrong.push(format!("{name} is never {wrong:?}: {selector}"));
                    }
                }
            }
        }
        labels
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Labels {
        if let Some(param) = &aggregate.param {
            self.labels(param);
        }
        let mut labels = self.labels(&aggregate.expr);
        let what = aggregate.op.to_string();
        match &aggregate.modifier {
            Some(LabelModifier::Include(by)) => self.must_have(&labels, &by.labels, &what),
            Some(LabelModifier::Exclude(without)) => self.must_exist(&without.labels, &what),
            None => {}
        }
        if ["topk", "bottomk"].contains(&&*what) {
            return labels;
        }
        match &aggregate.modifier {
            Some(LabelModifier::Include(by)) => labels.retain(|label, _| by.labels.contains(label)),
            Some(LabelModifier::Exclude(without)) => {
                labels.retain(|label, _| !without.labels.contains(label))
            }
            None => labels.clear(),
        }
        if let ("count_values", Some(Expr::StringLiteral(label))) = (&*what, aggregate.param.as_deref()) {
            labels.insert(label.val.clone(), Values::Any);
        }
        labels
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Labels {
        let (left, right) = (self.labels(&binary.lhs), self.labels(&binary.rhs));
        if binary.lhs.value_type() == ValueType::Scalar {
            return right;
        }
        if binary.rhs.value_type() == ValueType::Scalar {
            return left;
        }
        let what = binary.op.to_string();
        let modifier = binary.modifier.as_ref();
        let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
        match matching {
            Some(LabelModifier::Include(on)) => {
                self.must_have(&left, &on.labels, &format!("left of {what}"));
                self.must_have(&right, &on.labels, &format!("right of {what}"));
            }
            Some(LabelModifier::Exclude(ignoring)) => self.must_exist(&ignoring.labels, &what),
            None => {}
        }
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(more)) => self.grouped(left, &right, &more.labels, &what),
            Some(VectorMatchCardinality::OneToMany(more)) => self.grouped(right, &left, &more.labels, &what),
            _ if what == "or" => union(left, right),
            _ if what == "and" || what == "unless" => left,
            _ => {
                let mut labels = left;
                match matching {
                    Some(LabelModifier::Include(on)) => labels.retain(|label, _| on.labels.contains(label)),
                    Some(LabelModifier::Exclude(not)) => {
                        labels.retain(|label, _| !not.labels.contains(label))
                    }
                    None => {}
                }
                labels
            }
        }
    }

    fn grouped(&mut self, mut many: Labels, one: &Labels, more: &[String], what: &str) -> Labels {
        self.must_have(one, more, &format!("group of {what}"));
        let more = more.iter().filter_map(|label| one.get_key_value(label));
        many.extend(more.map(|(label, values)| (label.clone(), values.clone())));
        many
    }

    fn call(&mut self, call: &Call) -> Labels {
        let mut labels = Labels::new();
        for argument in &call.args.args {
            let found = self.labels(argument);
            if [ValueType::Vector, ValueType::Matrix].contains(&argument.value_type()) {
                labels = found;
            }
        }
        let word = |at: usize| match call.args.args.get(at).map(|argument| &**argument) {
            Some(Expr::StringLiteral(text)) => text.val.clone(),
            other => format!("{other:?}"),
        };
        match call.func.name {
            "absent" | "absent_over_time" => match call.args.args.first().map(|argument| &**argument) {
                Some(Expr::VectorSelector(selector)) => equalities(selector),
                Some(Expr::MatrixSelector(matrix)) => equalities(&matrix.vs),
                _ => Labels::new(),
            },
            "scalar" | "time" | "vector" | "pi" => Labels::new(),
            "histogram_quantile" => {
                self.must_have(&labels, &["le".to_owned()], call.func.name);
                labels.remove("le");
                labels
            }
            "label_replace" => {
                // Without a source the new label is a constant.
                let source = Some(word(3)).filter(|source| !source.is_empty());
                self.must_have(&labels, source.as_slice(), call.func.name);
                labels.insert(word(1), Values::Any);
                labels
            }
            "label_join" => {
                let from: Vec<String> = (3..call.args.args.len()).map(word).collect();
                self.must_have(&labels, &from, call.func.name);
                labels.insert(word(1), Values::Any);
                labels
            }
            _ => labels,
        }
    }

    /// Grouping by a label that does not exist loses the groups.
    fn must_have(&mut self, labels: &Labels, wanted: &[String], what: &str) {
        for label in wanted.iter().filter(|label| !labels.contains_key(*label)) {
            self.wrong.push(format!("no label {label} in {what}"));
        }
    }

    /// Leaving out a label that does not exist does no harm. But a label that no metric has is a typing error.
    fn must_exist(&mut self, labels: &[String], what: &str) {
        for label in labels.iter().filter(|label| !self.schema.has_label(label)) {
            self.wrong.push(format!("nobody has a label {label}: {what}"));
        }
    }
}

/// The labels of the result of `absent`.
fn equalities(selector: &VectorSelector) -> Labels {
    let matchers = selector.matchers.matchers.iter();
    let equal = matchers.filter(|matcher| matches!(matcher.op, MatchOp::Equal));
    equal.map(|matcher| (matcher.name.clone(), Values::Any)).collect()
}

fn union(mut some: Labels, more: Labels) -> Labels {
    for (label, values) in more {
        let known = some.entry(label).or_insert_with(|| values.clone());
        match (known, values) {
            (Values::Words(known), Values::Words(words)) => known.extend(words),
            (known, _) if *known == Values::Any => {}
            (known, values) => *known = values,
        }
    }
    some
}

/// The values in a matcher that are not in the list: its value, or each alternative of its regular expression.
fn wrong_values(matcher: &Matcher, words: &BTreeSet<String>) -> Vec<String> {
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let alternatives: Vec<&str> = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) if matcher.value.split('|').all(is_word) => {
            matcher.value.split('|').collect()
        }
        // A more complex expression: it must match at least one value, and not every possible one.
        MatchOp::Re(_) | MatchOp::NotRe(_) => {
            let hits = words
                .iter()
                .filter(|word| matcher.is_match(word) == matches!(matcher.op, MatchOp::Re(_)));
            return if hits.count() == 0 {
                vec![matcher.value.clone()]
            } else {
                Vec::new()
            };
        }
    };
    let wrong = alternatives.into_iter().filter(|word| !words.contains(*word));
    wrong.map(str::to_owned).collect()
}
